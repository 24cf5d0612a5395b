"""Kafka and MongoDB on this machine, without Docker, and the processes of a stack around them."""

from headrace.embedded.broker import BROKER_PROPERTIES, SINGLE_NODE_PROPERTIES
from headrace.embedded.checks import Check
from headrace.embedded.doctor import diagnose
from headrace.embedded.errors import StackError
from headrace.embedded.processes import Usage
from headrace.embedded.stack import Stack, settings_with, start_stack
from headrace.embedded.statefile import StackAddresses, running_stack
from headrace.embedded.supervisor import Supervisor

__all__ = [
    "BROKER_PROPERTIES",
    "SINGLE_NODE_PROPERTIES",
    "Check",
    "Stack",
    "StackAddresses",
    "StackError",
    "Supervisor",
    "Usage",
    "diagnose",
    "running_stack",
    "settings_with",
    "start_stack",
]
