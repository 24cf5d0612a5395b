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
        marker = os.environ["HEADRACE_STATE_DIR"] + "/died"
        if b"pure-4" in record.value and not os.path.exists(marker):
            open(marker, "w").close()
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


OF_THE_SCHEDULER = frozenset(("keep_timers",))
"""All others are the orchestrator's."""

if os.environ.get("HEADRACE_SABOTAGE") and sys.orig_argv[-2:-1] == ["service"]:
    for way in os.environ["HEADRACE_SABOTAGE"].split(","):
        service = "scheduler" if way in OF_THE_SCHEDULER else "orchestrator"
        if sys.orig_argv[-1] == service:
            globals()[way]()
