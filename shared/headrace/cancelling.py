"""Asks the workers to end runs, and brings those that no worker has at work to one."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.cloudevents import Location
from headrace.contracts.control import Cancel, write_cancel
from headrace.contracts.jobs import PRIORITIES, Priority
from headrace.contracts.resumptions import Resumption, resumption_headers, write_resumption
from headrace.contracts.topics import CONTROL, JOBS
from headrace.settings import Settings
from headrace.storage import RunFilter, Storage
from headrace.streams.producing import ConfirmingProducer, Placed
from headrace.streams.records import Outgoing

PAGE = 1_000
"""Runs that are asked for, and told, at a time."""

_AT_REST = ("waiting", "retrying")
"""Statuses of runs that no worker has: they end once one has them."""


class NothingToCancel(Exception):
    """There is no such automation, and no run of one; the message says so."""


class NotAsked(Exception):
    """Kafka did not take what was asked; the message says why. Asking again is safe."""


async def cancel_runs(settings: Settings, runs: Sequence[Mapping[str, Any]], by: str, reason: str) -> int:
    """Cancels these runs, documents of storage.runs; answers how many. Raises NotAsked."""
    at = datetime.now(UTC)
    asked = [
        Cancel(app=run["app"], run_id=run["_id"], generation=run["generation"], at=at, by=by, reason=reason)
        for run in runs
    ]
    records = [_control(settings, each) for each in asked]
    records += [
        _resumption(settings, run, each)
        for run, each in zip(runs, asked, strict=True)
        # One without effects, or that has not begun, has left no job in a journal: it ends when its own comes.
        if run["status"] in _AT_REST and run.get("owned")
    ]
    await asyncio.to_thread(_produce, settings, records)
    return len(runs)


async def check_there(storage: Storage, app: str, automation: str) -> None:
    """Raises NothingToCancel where it is a name that nothing has; PlatformUnavailable."""
    if await storage.automations.live(f"{app}/{automation}") is not None:
        return
    # One that was taken away may have runs that go on.
    if not await storage.runs.find(RunFilter(app, automation, limit=1)):
        raise NothingToCancel(
            f"no automation {app}/{automation}, nor runs of one; `headrace automations list` shows all"
        )


async def cancel_automation(
    settings: Settings, storage: Storage, app: str, automation: str, by: str, reason: str
) -> int:
    """Cancels all runs of an automation that have begun or are queued; answers how many of them are at rest.

    Raises NotAsked and PlatformUnavailable; then some may be cancelled.
    """
    cancel = Cancel(app=app, automation=automation, at=datetime.now(UTC), by=by, reason=reason)
    await asyncio.to_thread(_produce, settings, [_control(settings, cancel)])
    count = 0
    for status in _AT_REST:
        # What has started since is either not meant, or knows the cancel.
        before = cancel.at
        while page := await storage.runs.find(RunFilter(app, automation, status, before=before, limit=PAGE)):
            count += await cancel_runs(settings, page, by, reason)
            before = page[-1]["started_at"]
    return count


def _control(settings: Settings, cancel: Cancel) -> Outgoing:
    return Outgoing(CONTROL.full_name(settings.prefix), cancel.record_key, write_cancel(cancel))


def _resumption(settings: Settings, run: Mapping[str, Any], cancel: Cancel) -> Outgoing:
    """Makes the run's next segment, which ends it. Whatever else would have made that is then a stale copy."""
    event, topic = run["event"], str(run["job"]["topic"])
    found: list[Priority] = [each for each in PRIORITIES if topic.endswith(f".{each}")]
    resumption = Resumption(
        run_id=run["_id"],
        app=run["app"],
        automation=run["automation"],
        source=Location(event["topic"], event["partition"], event["offset"]),
        generation=run["generation"],
        segment=run["sequence"] // 2 + 1,
        key=run["key"],
        # A retry topic tells none.
        priority=found[0] if found else "normal",
        cancel=cancel,
    )
    jobs = JOBS[resumption.priority].full_name(settings.prefix)
    return Outgoing(jobs, resumption.record_key, write_resumption(resumption), resumption_headers(resumption))


def _produce(settings: Settings, records: Sequence[Outgoing]) -> None:
    fate = ConfirmingProducer(settings.kafka).produce([Placed(each) for each in records])
    if len(fate.confirmed) < len(records):
        why = fate.failure or next(iter(fate.refused.values()), "unknown")
        raise NotAsked(f"Kafka confirmed {len(fate.confirmed)} of {len(records)} records ({why}); ask again")
