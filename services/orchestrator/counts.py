"""Runs made, for the metrics page: counted in the event loop's thread, and shown to another."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.contracts.runs import RunStatus


class RunCounts(Collector):
    """Plain numbers: each run adds to two, and the client's own counters take a lock, and a microsecond, for each."""

    def __init__(self) -> None:
        self._runs: dict[RunStatus, int] = dict.fromkeys(get_args(RunStatus), 0)
        self._active_s = 0.0

    def add(self, status: RunStatus, duration_ms: float) -> None:
        """A segment of a run has come to its end."""
        self._runs[status] += 1
        self._active_s += duration_ms / 1000

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        runs = CounterMetricFamily("headrace_runs", "Runs executed, by status", labels=["status"])
        for status, count in self._runs.items():
            runs.add_metric([status], count)
        yield runs
        yield CounterMetricFamily(
            "headrace_run_active_seconds", "Seconds from start to end of all runs", value=self._active_s
        )


RUN_COUNTS = RunCounts()
"""Of this process."""

REGISTRY.register(RUN_COUNTS)
