"""One automation, one event: through the matcher and the engine, with nothing outside of this process."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import orjson

from headrace.contracts.automation import Automation
from headrace.contracts.runs import RunRecord
from headrace.engine import (
    AioHttpTransport,
    HttpAnswer,
    HttpFailure,
    HttpRequest,
    Orchestrator,
    Plan,
    Ports,
    Publication,
    ScriptPool,
    compile_plan,
    encode_record,
)
from headrace.engine.run import Started
from headrace.engine.stubs import NOT_ALLOWED, JumpingClock, with_stubs, within_the_run
from headrace.trials.events import Fired, NotFired, fire
from headrace.trials.rows import MemoryRows, WrittenRow


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial is told: the event, stubs by step id, and whether calls to others are really made."""

    event: object
    stubs: Mapping[str, object] = field(default_factory=dict[str, object])
    allow_effects: bool = False
    allow_private_hosts: bool = False
    """With `allow_effects`: whether loopback and private addresses may be called."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it. `record` is the run's, as it would be stored; `published` and `rows` what would be real."""

    plan: Plan
    started: Started
    record: RunRecord
    published: Sequence[Publication]
    rows: Sequence[WrittenRow]


class _NoHttp:
    """Nobody outside is called; the plan holds no step that could."""

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Refuses."""
        raise HttpFailure(NOT_ALLOWED, "a test run calls nobody outside", retryable=False)


def try_automation(automation: Automation, trial: Trial, at: datetime) -> Tried | NotFired:
    """Runs the automation on the trial's event; `at` (aware) is now, and the event's time where it names none.

    Raises BadTrialEvent, StubError, StepCrashed, and what `documents.check` raises.
    """
    plan = compile_plan(automation, 0)
    # First the stubs: a mistake in them is told whether the event fires or not.
    stubbed = within_the_run(with_stubs(plan, trial.stubs), allow_effects=trial.allow_effects)
    fired = fire(automation, trial.event, at)
    if isinstance(fired, NotFired):
        return fired
    return asyncio.run(_run(stubbed, fired, trial))


async def _run(plan: Plan, fired: Fired, trial: Trial) -> Tried:
    rows, http = MemoryRows(), AioHttpTransport() if trial.allow_effects else None
    scripts = ScriptPool()
    ports = Ports(
        rows=rows,
        http=http or _NoHttp(),
        clock=JumpingClock(fired.started.job_time),
        allow_private_hosts=trial.allow_private_hosts,
        scripts=scripts,
    )
    try:
        outcome = await Orchestrator(ports).execute(plan, fired.started)
    finally:
        await scripts.close()
        if http is not None:
            await http.close()
    # As it would be stored: values are plain and bounded, times are text.
    record = cast(RunRecord, orjson.loads(encode_record(outcome.record)))
    return Tried(plan, fired.started, record, outcome.publications, rows.written)
