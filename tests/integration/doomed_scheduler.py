"""A scheduler in a process of its own that kills itself at one point of its first transactions that hold timers.

The point: `produce N` (its Nth record), `offsets`, `commit` (before the call), `offsets done`, `commit done`.
"""

# What is replaced here is replaced by what its types don't know.
# pyright: reportAttributeAccessIssue=false

import os
import signal
import sys
from typing import Any

import confluent_kafka

from headrace.service import main
from headrace.streams import state
from services.scheduler.wiring import build

point = sys.argv.pop(1)
produced = 0


def die_at(reached: str) -> None:
    if reached == point:
        os.kill(os.getpid(), signal.SIGKILL)


class Doomed(confluent_kafka.Producer):
    """Kafka's client, with an end."""

    def produce(self, *what: Any, **more: Any) -> None:
        global produced
        super().produce(*what, **more)
        self.poll(0)
        produced += 1
        die_at(f"produce {produced}")

    def send_offsets_to_transaction(self, *what: Any, **more: Any) -> None:
        if produced:
            self.flush()
            die_at("offsets")
        super().send_offsets_to_transaction(*what, **more)
        if produced:
            die_at("offsets done")

    def commit_transaction(self, *what: Any, **more: Any) -> None:
        if produced:
            die_at("commit")
        super().commit_transaction(*what, **more)
        if produced:
            die_at("commit done")


state.Producer = Doomed
main("scheduler", build)
