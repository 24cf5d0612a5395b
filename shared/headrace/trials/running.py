"""One automation, one event: through the matcher and the engine, with nothing outside of this process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import orjson

from headrace.contracts import limits
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
from headrace.engine.apps import AppConfig, nothing_configured
from headrace.engine.masking import Mask
from headrace.engine.plain import dumps
from headrace.engine.record import encode_whole_record
from headrace.engine.run import Started
from headrace.engine.sql.pools import SqlPools
from headrace.engine.stubs import NOT_ALLOWED, JumpingClock, with_all_iterations, with_stubs, within_the_run
from headrace.storage import AppDatabases
from headrace.trials.events import Fired, NotFired, fire
from headrace.trials.rows import MemoryRows, Row, WrittenRow


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial is told: the event, stubs by step id, and whether calls to others are really made."""

    event: object
    stubs: Mapping[str, object] = field(default_factory=dict[str, object])
    allow_effects: bool = False
    allow_private_hosts: bool = False
    """With `allow_effects`: whether loopback and private addresses may be called."""
    apps: Callable[[str], AppConfig] = nothing_configured
    """What is configured for an app: templates see it as in a service, and its connections are reached with
    `allow_effects`."""
    max_iterations: int = limits.MAX_ITERATIONS
    is_case: bool = False
    """Whether it is a test case beside the automation: what came of it is compared, and so it is all there."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it, to be shown: the app's secrets are masked. `record` is the run's, as it would be stored, but of
    a case with every iteration, and with every value whole; `published` and `rows` are what would be real."""

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
    stubbed = with_stubs(plan, trial.stubs)
    stubbed = within_the_run(stubbed, allow_effects=trial.allow_effects, in_case=trial.is_case)
    if trial.is_case:
        stubbed = with_all_iterations(stubbed)
    fired = fire(automation, trial.event, at)
    if isinstance(fired, NotFired):
        return fired
    return asyncio.run(_run(stubbed, fired, trial))


async def _run(plan: Plan, fired: Fired, trial: Trial) -> Tried:
    rows, scripts = MemoryRows(), ScriptPool()
    ports = Ports(
        rows=rows,
        http=_NoHttp(),
        clock=JumpingClock(fired.started.job_time),
        allow_private_hosts=trial.allow_private_hosts,
        scripts=scripts,
        apps=trial.apps,
        max_iterations=trial.max_iterations,
    )
    closes: list[Callable[[], Awaitable[None]]] = [scripts.close]
    if trial.allow_effects:
        http, sql, mongodb = AioHttpTransport(), SqlPools(), AppDatabases()
        ports = replace(ports, http=http, sql=sql, mongodb=mongodb)
        closes += (http.close, sql.close, mongodb.close)
    try:
        outcome = await Orchestrator(ports).execute(plan, fired.started)
    finally:
        for close in closes:
            await close()
    # Values are plain and times are text, as in what is stored.
    encode = encode_whole_record if trial.is_case else encode_record
    record = cast(RunRecord, orjson.loads(encode(outcome.record)))
    mask = trial.apps(plan.automation.app).mask
    published = [_masked(mask, each) for each in outcome.publications]
    written = [row._replace(id=mask.text(row.id), row=cast(Row, mask.value(row.row))) for row in rows.written]
    return Tried(plan, fired.started, record, published, written)


def _masked(mask: Mask, publication: Publication) -> Publication:
    def text(value: bytes) -> bytes:
        return mask.text(value.decode(errors="replace")).encode()

    return Publication(
        publication.topic,
        None if publication.key is None else text(publication.key),
        dumps(mask.value(orjson.loads(publication.value))),
        [(name, text(value)) for name, value in publication.headers],
    )
