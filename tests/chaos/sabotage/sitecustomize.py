"""Breaks services on purpose: put this folder on their PYTHONPATH and name ways in HEADRACE_SABOTAGE.

Python imports this module at its start, before anything of Headrace. Each way is one patch of one promise in one
service, and touches one load's automation, so that several ways go into one run.
"""

# What is replaced here is replaced by what its types forbid: that is the point.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from uuid import uuid4

import orjson


def _is_first(what: str) -> bool:
    """Whether nobody in this installation has done it before."""
    marker = f"{os.environ['HEADRACE_STATE_DIR']}/{what}"
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def lose() -> None:
    """An offset is committed without its outcome: every fifth run of `pure`."""
    from services.orchestrator.jobs import JobRunner

    outgoing = JobRunner._outgoing

    def patched(self, job, record, outcome):
        lost = job.automation == "pure" and int(job.cause.id.rpartition("-")[2]) % 5 == 0
        return [] if lost else outgoing(self, job, record, outcome)

    JobRunner._outgoing = patched


def flip_status() -> None:
    """A second final record says otherwise: runs of `large`."""
    from services.orchestrator.jobs import JobRunner

    outgoing = JobRunner._outgoing

    def patched(self, job, record, outcome):
        made = outgoing(self, job, record, outcome)
        if job.automation == "large":
            other = orjson.dumps({**orjson.loads(made[0].value), "status": "error"})
            made.append(made[0]._replace(value=other))
        return made

    JobRunner._outgoing = patched


def skip_fence() -> None:
    """Nobody owns a run: its jobs execute it without a claim."""
    from services.orchestrator.jobs import JobRunner

    async def patched(self, plan, started, record, turn):
        return await self._execute(plan, started, record, turn)

    JobRunner._execute_owned = patched


def call_twice() -> None:
    """Calls of `http` are made twice under the same key, those of `once` too, those of `mixed` under another key."""
    from headrace.engine.web.transport import AioHttpTransport

    send = AioHttpTransport.send

    async def patched(self, request):
        answer = await send(self, request)
        if "/http/" in request.url or "/once/" in request.url:
            answer = await send(self, request)
        if "/mixed/" in request.url:
            answer = await send(self, replace(request, headers={**request.headers, "Idempotency-Key": str(uuid4())}))
        return answer

    AioHttpTransport.send = patched


def random_rows() -> None:
    """A row's id no longer follows from its step: with another attempt there is another row."""
    import headrace.engine.steps.rows as rows

    rows.derived_uuid = lambda _key: str(uuid4())


def reorder() -> None:
    """Runs of `slow` no longer wait for their turn, and the first of each lane starts late."""
    from headrace.streams.lanes import Lanes
    from services.orchestrator.jobs import JobRunner

    enter, leave, later = Lanes.enter, Lanes.leave, JobRunner._execute_later
    Lanes.enter = lambda self, lane, item: True if b"/slow/" in lane[1] else enter(self, lane, item)
    Lanes.leave = lambda self, lane: () if b"/slow/" in lane[1] else leave(self, lane)

    seen = set()

    async def patched(self, plan, started, record, turn):
        # Not by chance: the first of each lane lets all that come within this time overtake it.
        if started.job.automation == "slow" and record.key not in seen:
            seen.add(record.key)
            await asyncio.sleep(6)
        return await later(self, plan, started, record, turn)

    JobRunner._execute_later = patched


def stick() -> None:
    """A run of `pure` never ends, and with it its partition."""
    from services.orchestrator.jobs import JobRunner

    call = JobRunner.__call__

    def patched(self, record, turn):
        return asyncio.Event().wait() if b"pure-7" in record.value else call(self, record, turn)

    JobRunner.__call__ = patched


def leak() -> None:
    """A process that outlives the service: in a session of its own, without its death signal."""
    subprocess.Popen(["/bin/sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def die() -> None:
    """The worker ends in the middle of its work, once."""
    from services.orchestrator.jobs import JobRunner

    call = JobRunner.__call__

    def patched(self, record, turn):
        if b"pure-4" in record.value and _is_first("died"):
            os._exit(3)
        return call(self, record, turn)

    JobRunner.__call__ = patched


def go_on() -> None:
    """Whoever is cancelled goes on: runs of `cancelled`."""
    from services.orchestrator.cancellations import Cancellations

    Cancellations.of = lambda self, job, written_at: None


def forget_the_first_life() -> None:
    """A redriven run of `dead` begins anew: its journal is not read, and its calls have other keys."""
    from services.orchestrator.jobs import JobRunner

    started = JobRunner.__call__

    def patched(self, record, turn):
        found = orjson.loads(record.value)
        if found.get("automation") == "dead" and found.get("generation", 0) > 0:
            found["restart"] = found["generation"]
            record = record._replace(value=orjson.dumps(found))
        return started(self, record, turn)

    JobRunner.__call__ = patched


def keep_timers() -> None:
    """A timer that has fired is not taken out: every fifth of `timers`."""
    from services.scheduler.timers import TimerPartition

    fire = TimerPartition._fire

    def patched(self, timer, now):
        act = fire(self, timer, now)
        if act is not None and b'"timers"' in timer.value and timer.key[-1] % 5 == 0:
            self._written.pop(timer.key, None)
            act = act._replace(own=())
        return act

    TimerPartition._fire = patched


def hurry() -> None:
    """Tiers give out what waits in them at once."""
    from headrace.streams import config

    properties = config.StreamConfig.__init__

    def patched(self, *args, **named):
        properties(self, *args, **{**named, "delays": dict.fromkeys(named["delays"], 0.0)})

    config.StreamConfig.__init__ = patched


def call_while_paused() -> None:
    """No run is held: those of `held` begin although it is paused."""
    from services.orchestrator.pauses import Pauses

    Pauses.reason = lambda self, app, automation: None


def tick_while_paused() -> None:
    """The clock goes on although it is paused."""
    from services.scheduler.held import LivePauses

    is_paused = LivePauses.is_paused
    LivePauses.is_paused = lambda self, automation: automation != "chaos/clocks" and is_paused(self, automation)


def miscount_ticks() -> None:
    """The clock's first tick is lost, and its third one comes twice."""
    from services.scheduler.firing import Firing

    tick, fired = Firing.tick, []

    def patched(self, cron, timer, now):
        made = tick(self, cron, timer, now)
        fired.append(made)
        if len(fired) == 1:
            return made._replace(ticks=[])
        return made._replace(ticks=made.ticks * 2) if len(fired) == 3 else made

    Firing.tick = patched


def count_twice() -> None:
    """Runs of `held` count twice in insights."""
    from services.insights.rows import Counts

    add = Counts.add

    def patched(self, offset, delta):
        is_new = add(self, offset, delta)
        if delta["automation"] == "held" and is_new:
            self.merge(delta["ended"], delta["durations"], 0.0)
        return is_new

    Counts.add = patched


def give_up() -> None:
    """Insights ends itself, once, as it does where its changelog cannot be written; but nothing is wrong with Kafka."""
    from headrace.streams import StreamFailed
    from services.insights.worker import Worker

    flush = Worker._flush

    async def patched(self):
        if self._book.has_changes and _is_first("gave-up"):
            raise StreamFailed("the changelog cannot be written")
        await flush(self)

    Worker._flush = patched


SERVICES = {
    "keep_timers": "scheduler",
    "tick_while_paused": "scheduler",
    "miscount_ticks": "scheduler",
    "count_twice": "insights",
    "give_up": "insights",
}
"""All others are the orchestrator's."""

if os.environ.get("HEADRACE_SABOTAGE") and sys.orig_argv[-2:-1] == ["service"]:
    for way in os.environ["HEADRACE_SABOTAGE"].split(","):
        if sys.orig_argv[-1] == SERVICES.get(way, "orchestrator"):
            globals()[way]()
