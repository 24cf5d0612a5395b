"""A run continues where it stopped: wherever it is cut off, what was done is replayed and nothing is decided anew.

The store and the other side of HTTP are fakes here, to cut the run off at every single one of their calls; on real
servers the chaos tests do it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job, next_segment, read_job
from headrace.engine import (
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
    RowCreated,
    RowEffect,
    RowEntry,
    RowPage,
    RowQuery,
    Started,
    compile_plan,
)
from headrace.engine.decisions import HandOver
from headrace.engine.verbatim import dumps, loads
from headrace.service import DeadLetterWriter
from headrace.settings import load_settings
from headrace.streams import Record, Turn
from services.orchestrator.cancellations import Cancellations
from services.orchestrator.jobs import JobRunner
from services.orchestrator.limits import Limits
from services.orchestrator.listeners import Listeners
from services.orchestrator.pauses import Pauses

pytestmark = pytest.mark.unit

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

STEPS: list[dict[str, Any]] = [
    {"id": "ask", "use": "http.request", "with": {"url": "http://other.example/ask"}},
    {
        "id": "way",
        "branch": [
            {
                "name": "high",
                "when": "{{ steps.ask.data.answer > 5 }}",
                "steps": [
                    {"id": "row", "use": "row.create", "with": {"table": "notes", "row": {"n": "{{ trigger.n }}"}}},
                    {
                        "id": "tell",
                        "use": "http.request",
                        "with": {"url": "http://other.example/tell", "method": "POST"},
                    },
                ],
            },
            {"name": "low", "else": True, "steps": [{"id": "no", "use": "log", "with": {"text": "low"}}]},
        ],
    },
    {"id": "out", "use": "event.publish", "with": {"type": "done", "data": "{{ steps.ask.data.answer }}"}},
    {"id": "once", "use": "http.request", "on_unknown": "fail", "with": {"url": "http://other.example/once"}},
    {"id": "answer", "collect": "{{ steps.ask.data.answer }}"},
]


UNKNOWN = ((6, True), (7, False), (7, True), (8, False))
"""Cut off between the intent to call `once` and its answer being written down."""


class World:
    """What outlives a worker: the journal, the rows, and what the other side has seen. Dies at its `dies_at`-th call,
    before or after the call has had its effect."""

    def __init__(self, dies_at: int = 0, after: bool = False) -> None:
        self.dies_at, self.after, self.calls = dies_at, after, 0
        self.entries: list[bytes] = []
        self.rows: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.owner = ""

    def _call(self) -> bool:
        self.calls += 1
        dies = self.calls == self.dies_at
        if dies and not self.after:
            raise PlatformUnavailable("died")
        return dies

    async def claim(self, claim: Claim) -> Claimed:
        self.owner = claim.owner
        return Claimed("taken_over" if self.entries else "new", tuple(self.entries))

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        await self._append(claim, number, entry, None)

    async def _append(self, claim: Claim, number: int, entry: bytes, row: NewRow | None) -> None:
        dies = self._call()
        if claim.owner != self.owner:
            raise OwnershipLost
        assert number == len(self.entries)
        self.entries.append(entry)
        if row is not None:
            self.rows.append(row.origin)
        if dies:
            raise PlatformUnavailable("died")

    async def append_with_row(self, claim: Claim, number: int, entry: RowEntry[Any], effect: RowEffect[Any]) -> Any:
        assert isinstance(effect, NewRow)
        outcome = RowCreated({"_id": effect.row_id, **effect.row}, created=True)
        await self._append(claim, number, entry.of(outcome), effect)
        return outcome

    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("an owned run writes its rows through its journal")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        dies = self._call()
        self.requests.append((request.url.rpartition("/")[2], request.headers["Idempotency-Key"]))
        if dies:
            raise PlatformUnavailable("died")
        # Asked again, the other side says something else: who decides anew goes the other way.
        answer = 9 if len([path for path, _ in self.requests if path == "ask"]) == 1 else 1
        return HttpAnswer(200, {"content-type": "application/json"}, orjson.dumps({"answer": answer}))


async def execute(world: World, job: Job = JOB, leave: Any = lambda: None, steps: Any = STEPS) -> Outcome:
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps, "on_error": "contain"}
    )
    claim = Claim(job.run_id, Location("e", 0, 0), Location("jobs", 0, 9), 0, job.segment, f"worker-{world.calls}")
    claimed = await world.claim(claim)
    ports = Ports(rows=world, http=world)
    started = Started(job, Location("jobs", 0, 9), AT + timedelta(seconds=job.segment))
    return await Orchestrator(ports).execute(
        compile_plan(document, 3), started, Journal(world, claim, claimed.journal), leave
    )


def shape(steps: Any) -> Any:
    return [(s["id"], s["status"], s.get("outputs"), shape(s.get("children", []))) for s in steps]


async def whole() -> tuple[Outcome, int]:
    world = World()
    outcome = await execute(world)
    return outcome, world.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 10))
async def test_cut_off_at_any_call_it_goes_the_way_it_first_went(dies_at: int, after: bool) -> None:
    uncut, calls = await whole()
    assert calls == 8  # ask, its entry, the row, tell, its entry, the intent, once, its entry
    world = World(dies_at, after)
    try:
        outcome = await execute(world)
        assert dies_at > calls
    except PlatformUnavailable:
        outcome = await execute(world)
    paths = [path for path, _ in world.requests]
    assert len(set(world.requests)) == len(set(paths))  # one key a step
    assert paths.count("once") == 1 or (dies_at, after) in UNKNOWN
    if paths.count("ask") == 2:
        # Its answer had not been written down, so nothing had been decided by it.
        assert (dies_at, after) in ((1, True), (2, False))
        assert world.rows == []
        assert outcome.record.get("collected") == 1
        return
    assert len(world.rows) == 1
    assert paths.count("tell") <= 2
    assert outcome.record.get("collected") == 9
    assert [each.value for each in outcome.publications] == [b"9"]
    if (dies_at, after) not in UNKNOWN:
        assert shape(outcome.record["steps"]) == shape(uncut.record["steps"])


@pytest.mark.parametrize(("dies_at", "after"), UNKNOWN)
async def test_a_call_of_unknown_fate_is_an_error_and_is_not_made_again(dies_at: int, after: bool) -> None:
    world = World(dies_at, after)
    with pytest.raises(PlatformUnavailable):
        await execute(world)
    sent = [path for path, _ in world.requests].count("once")
    outcome = await execute(world)
    assert [path for path, _ in world.requests].count("once") == sent
    once = next(step for step in outcome.record["steps"] if step["id"] == "once")
    assert (once["status"], once.get("error", {}).get("type")) == ("error", "unknown_outcome")
    assert outcome.record["status"] == "error"


async def test_a_run_asked_to_leave_goes_on_in_its_next_segment_and_publishes_once() -> None:
    world = World()
    asked = iter([None] * 6 + [HandOver()] * 100)
    first = await execute(world, leave=lambda: next(asked))
    assert isinstance(first.decision, HandOver)
    assert (first.record["status"], first.record["sequence"]) == ("retrying", 1)
    job = read_job(next_segment(JOB))
    second = await execute(world, job)
    assert second.decision is None
    assert (second.record["status"], second.record["sequence"]) == ("success", 3)
    assert len([*first.publications, *second.publications]) == 1
    assert [path for path, _ in world.requests] == ["ask", "tell", "once"]
    assert shape(second.record["steps"]) == shape((await whole())[0].record["steps"])


async def test_a_run_that_goes_on_elsewhere_began_when_it_was_first_started() -> None:
    world = World(dies_at=6)
    with pytest.raises(PlatformUnavailable):
        await execute(world)
    first = loads(world.entries[0])
    outcome = await execute(world)
    assert isinstance(first, dict)
    assert outcome.record["started_at"] == first["started_at"]
    assert (outcome.record["finished_at"] or AT) > outcome.record["started_at"]


async def test_a_run_taken_by_a_worker_that_has_no_right_to_it_is_claimed_again_and_ends_with_its_record() -> None:
    world = World()
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": STEPS, "on_error": "contain"}
    )
    plan = compile_plan(document, 3)

    class OnePlan:
        def cached(self, job: Job) -> Any:
            return plan

    send = world.send

    async def stolen_meanwhile(request: HttpRequest) -> HttpAnswer:
        answer = await send(request)
        if request.url.endswith("tell") and len(world.requests) == 2:
            world.owner = "a worker that slept"
        return answer

    world.send = stolen_meanwhile
    settings = load_settings(kafka_bootstrap_servers="nowhere:1", mongodb_uri="mongodb://nowhere")
    orchestrator = Orchestrator(Ports(rows=world, http=world))
    letters = DeadLetterWriter("orchestrator", settings)
    runner = JobRunner(
        settings,
        cast(Any, OnePlan()),
        orchestrator,
        world,
        letters,
        Listeners(),
        Cancellations(cast(Any, None)),
        Limits(),
        Pauses(),
    )
    record = Record("headrace.jobs.normal", 0, 9, 0, b"k", JOB.model_dump_json().encode(), [])
    handled = runner(record, Turn(record, 1))
    assert not isinstance(handled, Sequence)
    outputs = await handled
    assert outputs[0].topic == "headrace.runs"
    assert orjson.loads(outputs[0].value or b"")["status"] == "success"
    assert len(world.rows) == 1


async def test_whoever_lost_the_run_learns_it_at_the_next_write_and_changes_nothing() -> None:
    world = World()
    taken: list[str] = []

    def is_taken_over() -> None:
        if world.rows and not taken:
            taken.append("other")
            world.owner = "other"

    with pytest.raises(OwnershipLost):
        await execute(world, leave=is_taken_over)
    assert len(world.entries) == 2


async def test_a_branch_that_ran_out_of_time_is_replayed_as_that_and_goes_no_further() -> None:
    class Slow:
        """A second passes at each look."""

        ticks = 0

        def now(self) -> datetime:
            return AT

        def perf(self) -> float:
            Slow.ticks += 1
            return float(Slow.ticks)

        async def sleep(self, seconds: float) -> None:
            pass

    inner = [{"id": f"s{i}", "use": "log", "with": {"text": str(i)}} for i in range(9)]
    steps = [
        {"id": "b", "timeout": "9s", "branch": [{"name": "w", "else": True, "steps": inner}]},
        {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"a": 1}}},
        {"id": "ask", "use": "http.request", "with": {"url": "http://other.example/ask"}},
    ]
    world = World(dies_at=2)
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps}
    )
    plan = compile_plan(document, 3)

    async def once(clock: Any) -> Outcome:
        claim = Claim(JOB.run_id, Location("e", 0, 0), Location("jobs", 0, 9), 0, 0, f"w{world.calls}")
        claimed = await world.claim(claim)
        ports = Ports(rows=world, http=world, clock=clock) if clock else Ports(rows=world, http=world)
        started = Started(JOB, Location("jobs", 0, 9), AT)
        return await Orchestrator(ports).execute(plan, started, Journal(world, claim, claimed.journal))

    with pytest.raises(PlatformUnavailable):
        await once(Slow())
    done = len(orjson.loads(world.entries[0])["items"])
    outcome = await once(None)  # now with all the time in the world
    branch = outcome.record["steps"][0]
    assert branch["status"] == "timed_out"
    assert 0 < len(branch.get("children", [])) < 9
    assert done > len(branch.get("children", []))


@pytest.mark.parametrize("in_branch", [False, True])
async def test_a_run_cut_off_by_its_time_is_cut_off_at_the_same_step_when_it_is_replayed(in_branch: bool) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "slow", "use": "http.request", "with": {"url": "http://other.example/slow"}},
        {"id": "charge", "use": "http.request", "with": {"url": "http://other.example/charge"}},
    ]
    document: dict[str, Any] = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps}
    if in_branch:
        document["steps"] = [
            {"id": "b", "timeout": "100ms", "branch": [{"name": "w", "else": True, "steps": steps}]},
        ]
    else:
        document["timeout"] = "100ms"
    plan = compile_plan(parse_automation(document), 3)
    world = World()
    send = world.send

    async def slowly(request: HttpRequest) -> HttpAnswer:
        if request.url.endswith("slow"):
            world.requests.append(("slow", ""))
            await asyncio.Event().wait()
        return await send(request)

    world.send = slowly

    async def once() -> Outcome:
        claim = Claim(JOB.run_id, Location("e", 0, 0), Location("jobs", 0, 9), 0, 0, f"w{len(world.entries)}")
        claimed = await world.claim(claim)
        started = Started(JOB, Location("jobs", 0, 9), AT)
        ports = Ports(rows=world, http=world)
        return await Orchestrator(ports).execute(plan, started, Journal(world, claim, claimed.journal))

    first, again = await once(), await once()
    assert [path for path, _ in world.requests] == ["slow"]
    assert again.record["status"] == first.record["status"]
    assert shape(again.record["steps"]) == shape(first.record["steps"])


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
KEYS = st.text(max_size=8) | st.just("$headrace") | st.integers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_what_is_written_comes_back_with_its_types(value: object) -> None:
    assert _typed(loads(dumps(value))) == _typed(value)


def test_a_time_a_date_and_an_amount_are_still_that() -> None:
    value = {"at": AT, "day": date(2013, 1, 1), "sum": Decimal("1.10"), "huge": 1 << 80}
    assert loads(dumps(value)) == value


def test_a_float_that_is_no_number_stays_one() -> None:
    back = loads(dumps({"a": [float("nan")], "none": None}))
    assert repr(back) == "{'a': [nan], 'none': None}"


def _typed(value: object) -> object:
    """Equality that tells 1 from True and 1.0, and a date from a time."""
    if isinstance(value, dict):
        return frozenset((_typed(key), _typed(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_typed(item) for item in value)
    return type(value).__name__, str(value) if isinstance(value, Decimal) else value


def test_a_run_that_publishes_is_owned_and_one_that_only_logs_is_not() -> None:
    def plan(step: dict[str, object]) -> Plan:
        trigger = {"type": "event", "event": "*"}
        return compile_plan(parse_automation({"name": "a", "app": "b", "trigger": trigger, "steps": [step]}), 1)

    assert plan({"id": "s", "use": "event.publish", "with": {"type": "x", "data": {}}}).has_effects
    assert not plan({"id": "s", "use": "log", "with": {"text": "x"}}).has_effects
