"""An orchestrator in a process of its own, for test_resume_kill: each run stops at a call of its own, and once all
stand still the process ends itself with SIGKILL.

An event's id says where, life by life: `n.2.before-7.after` stops before the second call of the first life and after
the seventh of the second. What a run calls: its claim, each write of its journal (with a row or without), each request.
"""

# What is replaced here is replaced by what its types don't know.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPrivateUsage=false

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from headrace.engine import AioHttpTransport
from headrace.service import main
from headrace.storage.heads import MongoRunHeads
from services.orchestrator.jobs import JobRunner
from services.orchestrator.wiring import build

Call = Callable[..., Awaitable[Any]]

lives = Path(sys.argv[1])
"""A folder with a file for each life: what its runs stood still at, an event, a call and "before" or "after" a line."""
runs = int(sys.argv[2])
"""How many there are in all."""
(lives / str(os.getpid())).touch()
life = len(list(lives.iterdir()))

stops: dict[str, tuple[int, str]] = {}
events: dict[str, str] = {}
calls: Counter[str] = Counter()
still: set[str] = set()


async def stop(run: str, call: str, when: str) -> None:
    with (lives / str(os.getpid())).open("a") as told:
        print(events[run], call, when, file=told)
    stand_still(run)
    await asyncio.Event().wait()


def stand_still(run: str) -> None:
    still.add(run)
    if len(still) == runs:
        os.kill(os.getpid(), signal.SIGKILL)


def stopping(call: Call, told: Callable[..., tuple[str, str]]) -> Call:
    """`call`, but a run that has come to its own goes no further, with none of its strands."""

    async def patched(self: Any, *what: Any) -> Any:
        run, name = told(*what)
        number, when = stops.get(run, (0, ""))
        calls[run] += 1
        mine = calls[run]
        if run in still or (mine == number and when == "before"):
            await stop(run, name, "before")
        answer = await call(self, *what)
        if mine == number:
            await stop(run, name, "after")
        return answer

    return patched


def told_of_request(request: Any) -> tuple[str, str]:
    run, _, step = str(request.headers["Idempotency-Key"]).split("/")[:3]
    return run, f"send:{step}"


def told_of_row(claim: Any, number: int, entry: Any, effect: Any) -> tuple[str, str]:
    return claim.run_id, f"entry:{effect.origin.split('/')[2]}"


def told_of_entry(claim: Any, number: int, entry: bytes) -> tuple[str, str]:
    last = re.findall(rb'"key":"[^"/]+/0/([^"/]+)/', entry)[-1]
    is_intent = re.search(rb'\{"key":"[^"]*"\}\]\}$', entry) is not None
    return claim.run_id, f"{'intent' if is_intent else 'entry'}:{last.decode()}"


execute_owned = JobRunner._execute_owned


async def doomed(self: Any, plan: Any, started: Any, record: Any, turn: Any) -> Any:
    run = started.job.run_id
    events[run] = started.job.cause.id
    points = events[run].split("-")[1:]
    if life <= len(points):
        number, _, when = points[life - 1].partition(".")
        stops[run] = int(number), when
    made = await execute_owned(self, plan, started, record, turn)
    if life <= len(points):
        stand_still(run)
    return made


JobRunner._execute_owned = doomed
MongoRunHeads.claim = stopping(MongoRunHeads.claim, lambda claim: (claim.run_id, "claim"))
MongoRunHeads.append = stopping(MongoRunHeads.append, told_of_entry)
MongoRunHeads.append_with_row = stopping(MongoRunHeads.append_with_row, told_of_row)
AioHttpTransport.send = stopping(AioHttpTransport.send, told_of_request)

main("orchestrator", build)
