"""Runs that are cut off at any of their calls and resumed, by a world that outlives the worker.

The store and the other side of HTTP are fakes here, to cut a run off between any two of their calls and to shuffle what
is done at once; on real servers test_resume_kill does it.
"""

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar, cast

import orjson

from headrace.contracts import limits
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job, next_segment, read_job, redriven
from headrace.contracts.resumptions import Answer, EventName
from headrace.contracts.runs import StepResult
from headrace.engine import (
    Cancellation,
    Claim,
    Claimed,
    HttpAnswer,
    HttpRequest,
    Journal,
    NewRow,
    Orchestrator,
    Outcome,
    OwnershipLost,
    Plan,
    PlatformUnavailable,
    Ports,
    Publication,
    RowCreated,
    RowEffect,
    RowEntry,
    RowPage,
    RowQuery,
    Started,
)
from headrace.engine.cancelling import NEVER
from headrace.engine.decisions import Awaited, DeadLetter, HandOver, Hold, Leave, Park
from headrace.engine.entries import joined
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform
from headrace.engine.verbatim import loads

AT = datetime(2013, 1, 1, tzinfo=UTC)
JOB = Job.model_validate(
    {
        "format": 1,
        "run_id": "00000000-0000-5000-8000-000000000000",
        "app": "shop",
        "automation": "a",
        "version": 3,
        "generation": 0,
        "segment": 0,
        "attempt": 1,
        "key": "k",
        "priority": "normal",
        "trigger": {"n": 7},
        "cause": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT},
    }
)
RESUMES = 40
"""More than any test cuts: a run that comes to no end is a mistake."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all wait, and then at once: time limits cut off what they would."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


class _Jumps(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all wait for what never comes"
        self.now += timeout
        return super().select(0)


@dataclass(frozen=True)
class Cut:
    """The worker is lost at its `call`-th call to the outside, before or after that took effect.

    `kills`: it does nothing more, as after SIGKILL; else only that call fails, and strands beside it go on until they
    are cancelled.
    """

    call: int
    after: bool = False
    kills: bool = True


@dataclass
class World:
    """What outlives a worker: journal, rows, and what the other side was asked. Each call counts from the last cut on.

    `varies`: asked again, the other side answers something else, so that whoever decides anew goes another way. A call
    takes up to `longest` seconds, of which some pass before it takes effect.
    """

    cuts: list[Cut] = field(default_factory=list[Cut])
    varies: bool = True
    longest: float = 0.0
    shuffle: Random = field(default_factory=lambda: Random(0))
    calls: int = 0
    entries: list[bytes] = field(default_factory=list[bytes])
    rows: list[NewRow] = field(default_factory=list[NewRow])
    requests: list[HttpRequest] = field(default_factory=list[HttpRequest])
    heard: dict[int, int] = field(default_factory=dict[int, int])
    """Of which requests, by their number, the worker heard an answer, and its status."""
    reads: int = 0
    owner: str = ""
    claims: int = 0
    is_dead: bool = False

    async def _call(self) -> bool:
        """Whether the worker is lost after this call; raises if before it."""
        await self._pass()
        self.calls += 1
        if not self.cuts or self.calls != self.cuts[0].call:
            return False
        cut = self.cuts.pop(0)
        self.calls = 0
        self.is_dead = cut.kills
        if not cut.after:
            raise PlatformUnavailable("cut off")
        return True

    async def _leave(self, dies: bool) -> None:
        if dies:
            raise PlatformUnavailable("cut off")
        await self._pass()

    async def _pass(self) -> None:
        """Some time passes, or others have a turn."""
        for _ in range(self.shuffle.randrange(3)):
            await asyncio.sleep(0)
        if self.longest:
            await asyncio.sleep(self.shuffle.choice((0.0, 0.5, 1.0)) * self.longest / 2)
        if self.is_dead:
            raise PlatformUnavailable("the worker is dead")

    async def claim(self, claim: Claim) -> Claimed:
        self.owner, self.is_dead = claim.owner, False
        return Claimed("taken_over" if self.entries else "new", tuple(self.entries))

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        await self._append(claim, number, entry, None)

    async def append_with_row(self, claim: Claim, number: int, entry: RowEntry[Any], effect: RowEffect[Any]) -> Any:
        assert isinstance(effect, NewRow)
        outcome = RowCreated(effect.row, created=True)
        await self._append(claim, number, entry.of(outcome), effect)
        return outcome

    async def _append(self, claim: Claim, number: int, entry: bytes, row: NewRow | None) -> None:
        dies = await self._call()
        if claim.owner != self.owner:
            raise OwnershipLost
        assert number == len(self.entries), "entries are numbered without gaps"
        self.entries.append(entry)
        if row is not None:
            self.rows.append(row)
        await self._leave(dies)

    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("an owned run writes its rows through its journal")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Paths that end with `flaky` fail every other time, or, where nothing varies, under every other key; those
        that end with `busy` say as often that they have done nothing."""
        dies = await self._call()
        number = len(self.requests)
        self.requests.append(request)
        answer = len(self.requests) if self.varies else sum(request.headers["Idempotency-Key"].encode())
        await self._leave(dies)
        fails = {"flaky": 503, "busy": 429} if answer % 2 == 1 else {}
        self.heard[number] = status = fails.get(request.url.rpartition("/")[2], 200)
        return HttpAnswer(status, {"content-type": "application/json"}, orjson.dumps({"answer": answer}))

    async def read(self, key: str) -> int:
        """A read: it leaves no trace, and finds something else each time."""
        dies = await self._call()
        self.reads += 1
        await self._leave(dies)
        return self.reads if self.varies else sum(key.encode())

    def uncertain(self) -> list[str]:
        """The keys of all requests of which the worker could not know that nothing was done."""
        return [key for number, key in enumerate(self.sent()) if self.heard.get(number) != 429]

    def sent(self) -> list[str]:
        """The keys of all requests."""
        return [request.headers["Idempotency-Key"] for request in self.requests]

    def noted(self) -> list[dict[str, Any]]:
        """All that the journal's entries say, in order."""
        entries = [cast("dict[str, Any]", loads(entry)) for entry in joined(self.entries)]
        return [item for entry in entries for item in entry["items"]]


@dataclass(frozen=True)
class Came:
    """An event that comes `seconds` after the beginning; its place among the others is its number."""

    seconds: float
    type: str
    key: str
    data: Any = None
    id: str = ""
    source: str = "bank"


def answer_to(awaited: Awaited, events: list[Came]) -> tuple[Answer, datetime] | None:
    """The first of these events, in the order of their times, that answers, and when it is there."""
    for at, came in enumerate(events):
        time = AT + timedelta(seconds=came.seconds)
        is_asked_for = (came.type, came.key) == (awaited.type, awaited.key) and at > awaited.after
        if is_asked_for and awaited.since <= time <= awaited.until:
            event = EventName(id=came.id or str(at), source=came.source, type=came.type, time=time)
            return Answer(step=awaited.step, at=at, event=event, data=came.data), time
    return None


class LoopClock:
    """The event loop's time."""

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.perf())

    def perf(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Read(AwaitingStep):
    """A step that waits and does nothing outside: what it found is known only from the journal."""

    use = "test.read"
    inputs = Inputs
    outputs: ClassVar[dict[str, str]] = {"data": "what it found, as an answer's"}
    effect = "none"

    def bind(self, rendered: Outputs) -> Perform:
        async def perform(run: Run) -> Outputs:
            found = await cast(World, run.ports.rows).read(run.key)
            return {"success": True, "data": {"answer": found}}

        return perform


@dataclass
class Course:
    """How the run came to its end: the outcome of each segment that was committed, and how often it was resumed.

    `answers` are those that it was resumed with.
    """

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    resumed: int = 0
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def last(self) -> Outcome:
        return self.outcomes[-1]

    @property
    def publications(self) -> list[Publication]:
        """All that went out, in order."""
        return [each for outcome in self.outcomes for each in outcome.publications]


@dataclass
class Leaving:
    """When the run is asked to leave: at which look, of all looks; which of its ends are not committed; and which are
    dead letters in their outcome's place, redriven."""

    looks: frozenset[int] = frozenset()
    uncommitted: frozenset[int] = frozenset()
    dead: frozenset[int] = frozenset()
    looked: int = 0

    def __call__(self) -> Leave | None:
        self.looked += 1
        if self.looked not in self.looks:
            return None
        return HandOver() if self.looked % 2 else Hold("paused by ann: the other side is down")


def run_to_its_end(
    world: World,
    plan: Plan,
    leaving: Leaving | None = None,
    tries: int = 3,
    events: list[Came] | None = None,
    late_s: float = 0.0,
) -> Course:
    """Executes and resumes until it is at its end; what gave up is tried again, up to `tries` times in all. `events`
    come in their order; of what a parked run waits for the first to come makes it go on, `late_s` after it has come. So
    late is also what begins again, or is redriven."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_to_its_end(world, plan, leaving or Leaving(), tries, events or [], late_s))


async def _to_its_end(
    world: World, plan: Plan, leaving: Leaving, tries: int, events: list[Came], late_s: float
) -> Course:
    job, course, ends, gave_up, answer = JOB, Course(), 0, 0, None
    for course.resumed in range(RESUMES):
        try:
            outcome = await execute(world, plan, job, leaving, answer)
        except PlatformUnavailable:
            continue
        ends += 1
        if ends in leaving.uncommitted:
            await asyncio.sleep(late_s)
            continue
        if ends in leaving.dead:
            await asyncio.sleep(late_s)
            job = redriven(job, version=job.version, is_restart=False, had_outcome=False)
            continue
        course.outcomes.append(outcome)
        answer = None
        if isinstance(outcome.decision, Park):
            until = outcome.decision.until
            found = [each for awaited in outcome.decision.events if (each := answer_to(awaited, events)) is not None]
            if found and (first := min(found, key=lambda each: each[1]))[1] <= until:
                answer, until = first[0], first[1] + timedelta(seconds=late_s)
                course.answers.append(answer)
            await asyncio.sleep(max(0.0, (until - LoopClock().now()).total_seconds()))
        gave_up += isinstance(outcome.decision, DeadLetter)
        if outcome.decision is None or (isinstance(outcome.decision, DeadLetter) and gave_up == tries):
            return course
        if not isinstance(outcome.decision, DeadLetter):
            job = read_job(next_segment(job))
        else:
            job = redriven(job, version=job.version, is_restart=False, had_outcome=True)
    raise AssertionError(f"resumed {RESUMES} times and at no end")


async def execute(
    world: World,
    plan: Plan,
    job: Job = JOB,
    leaving: Callable[[], Leave | None] = lambda: None,
    answer: Answer | None = None,
    cancellation: Cancellation = NEVER,
    max_iterations: int = limits.MAX_ITERATIONS,
) -> Outcome:
    """One worker's execution of one job, under a claim of its own."""
    world.claims += 1
    where = Location("jobs", 0, 9 + job.segment)
    claim = Claim(job.run_id, Location("e", 0, 0), where, job.generation, job.segment, f"worker-{world.claims}")
    claimed = await world.claim(claim)
    ports = Ports(rows=cast(Any, world), http=world, clock=LoopClock(), max_iterations=max_iterations)
    # Each segment has a `now` of its own.
    started = Started(job, where, AT + timedelta(seconds=10 * job.generation + job.segment), answer)
    journal = Journal(cast(Any, world), claim, claimed.journal, restart=job.restart, unsent=job.unsent)
    return await Orchestrator(ports).execute(plan, started, journal, leaving, cancellation)


def by_key(outcome: Outcome) -> dict[str, StepResult]:
    """The results of a record by step key."""
    found: dict[str, StepResult] = {}
    for key, result in _keyed(outcome.record["steps"], "", ""):
        assert key not in found, f"two steps have the key {key}"
        found[key] = result
    return found


def _keyed(results: list[StepResult], path: str, inside: str) -> Iterator[tuple[str, StepResult]]:
    for result in results:
        here = inside
        if "iteration" in result:
            here = f"{inside}.{result['iteration']}" if inside else str(result["iteration"])
        at = f"{path}.{result['id']}" if path else result["id"]
        yield f"{JOB.run_id}/0/{at}/{here or '0'}", result
        yield from _keyed(result.get("children", []), at, here)


def shape(results: list[StepResult]) -> Any:
    """What a record says of steps, without times."""
    return [
        (each["id"], each["status"], _timeless(each.get("outputs")), each.get("iteration"), shape(_inside(each)))
        for each in results
    ]


def _inside(result: StepResult) -> list[StepResult]:
    return result.get("children", [])


def _timeless(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        values = cast("dict[str, object]", outputs)
        return {name: _timeless(value) for name, value in values.items() if name != "until"}
    return [_timeless(value) for value in cast("list[object]", outputs)] if isinstance(outputs, list) else outputs


def repeated(keys: list[str]) -> list[str]:
    """Those that are there twice."""
    return [key for key, count in Counter(keys).items() if count > 1]
