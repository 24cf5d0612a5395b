"""Windmill's benchmark of workflow engines: 40 steps that are little work, and 10 that are much, in one run each.

Published for the first, on 2 vCPU: Hatchet 1.22 s, Windmill 2.09 s, Temporal 2.97 s.
"""

import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from headrace.cli.output import with_storage
from headrace.contracts.automation import Automation, parse_automation
from headrace.publisher import Publisher
from headrace.settings import Settings

APP = "fibo"
LIGHT, HEAVY = "40-times-fibo-10", "10-times-fibo-33"
_WORK = {LIGHT: (40, 10), HEAVY: (10, 33)}
"""Steps of the automation, and the number that each computes."""

TIMES = 7
"""How often the light one is run; the first time its worker compiles it, which is the slowest."""

TIMEOUT_S = 300.0
"""For ten times a second or so of work on a slow machine."""

_STEP = '''"""A registered Python step."""

from pydantic import BaseModel

from headrace.steps import StepContext, step


class FiboInputs(BaseModel):
    n: int


class FiboOutputs(BaseModel):
    value: int


def fibo(n: int) -> int:
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)


@step("bench.fibo", effect="none")
async def step(inputs: FiboInputs, context: StepContext) -> FiboOutputs:
    """Computes a Fibonacci number, the long way."""
    return FiboOutputs(value=fibo(inputs.n))
'''


@contextmanager
def fibo_step() -> Generator[None]:
    """Within it this process and its children have an installed package with the step `bench.fibo`."""
    before = os.environ.get("PYTHONPATH")
    with TemporaryDirectory(prefix="headrace-fibo-") as folder:
        info = Path(folder) / "headrace_bench_fibo-1.0.dist-info"
        info.mkdir()
        (Path(folder) / "headrace_bench_fibo.py").write_text(_STEP)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-bench-fibo\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[headrace.steps]\nfibo = headrace_bench_fibo:step\n")
        os.environ["PYTHONPATH"] = folder if before is None else f"{folder}{os.pathsep}{before}"
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


def fibo_automations() -> list[Automation]:
    """Both automations; expects to be within `fibo_step`."""
    return [
        parse_automation(
            {
                "name": name, "app": APP, "trigger": {"type": "event", "event": name},
                "steps": [{"id": f"s{i}", "use": "bench.fibo", "with": {"n": n}} for i in range(count)],
            }
        )
        for name, (count, n) in _WORK.items()
    ]  # fmt: skip


def fibo_seconds(settings: Settings) -> Mapping[str, Any]:
    """Seconds from the event to MongoDB: of the light one the median, of the heavy one beside the bare function's."""
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        light = list[float]()
        for number in range(TIMES):
            light = _latencies(settings, publisher, LIGHT, number)
        (heavy,) = _latencies(settings, publisher, HEAVY, 0)
    if (ended := with_storage(settings, lambda storage: storage.runs.count_by_status(APP))) != {"success": TIMES + 1}:
        raise RuntimeError(f"these runs ended as {ended}: their figures mean nothing")
    count, number = _WORK[HEAVY]
    bare = _bare(number) * count
    return {
        LIGHT: {"seconds": round(median(light), 4), "slowest": round(light[-1], 4)},
        HEAVY: {"seconds": round(heavy, 3), "bare": round(bare, 3), "ratio": round(heavy / bare, 3)},
    }


def _latencies(settings: Settings, publisher: Publisher, name: str, known: int) -> list[float]:
    """Seconds of all its runs, ascending, after one more than the `known` ones is recorded."""
    publisher.submit_event(name, {})
    publisher.flush()
    deadline = time.monotonic() + TIMEOUT_S
    while len(found := with_storage(settings, lambda storage: storage.runs.latencies_ms(APP, name))) == known:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was not recorded within {TIMEOUT_S:.0f} s")
        time.sleep(0.05)  # MongoDB is asked: there is nothing here to await
    return [each / 1e3 for each in found]


def _bare(n: int) -> float:
    """Seconds of the function alone, in this process."""

    def fibo(n: int) -> int:
        return n if n < 2 else fibo(n - 1) + fibo(n - 2)

    began = time.perf_counter()
    fibo(n)
    return time.perf_counter() - began
