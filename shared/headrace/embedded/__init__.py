"""Kafka and MongoDB on this machine, without Docker, and the processes of a stack around them."""

from headrace.embedded.errors import StackError
from headrace.embedded.stack import Stack, StackAddresses, running_stack, start_stack
from headrace.embedded.supervisor import Supervisor

__all__ = ["Stack", "StackAddresses", "StackError", "Supervisor", "running_stack", "start_stack"]
