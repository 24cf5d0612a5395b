"""Limits of runs: never more under way or started than the automation allows, in order, and all come to their end."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_engine import NoRows
from test_run_ends import Anyones

from headrace.contracts.automation import Rate, parse_automation
from headrace.contracts.control import Cancel, write_cancel
from headrace.contracts.jobs import Cause, Job, delayed, job_key, read_job, write_job
from headrace.engine import Orchestrator, Ports, compile_plan
from headrace.service import DeadLetterWriter
from headrace.settings import load_settings
from headrace.streams import Outgoing, Record, StreamConfig, Turn, Unavailable
from headrace.streams.dispatch import Dispatcher
from headrace.streams.ledgers import Ledgers
from services.orchestrator.cancellations import Cancellations
from services.orchestrator.jobs import JobRunner
from services.orchestrator.limits import UNLIMITED, Limits
from services.orchestrator.listeners import Listeners
from services.orchestrator.live import Live, LiveAutomations, LiveDocument
from services.orchestrator.pauses import Pauses
from services.orchestrator.rates import Rates

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)
DOCUMENT: dict[str, Any] = {
    "name": "a",
    "app": "shop",
    "trigger": {"type": "manual"},
    "steps": [{"id": "x", "collect": 1}],
}
CAUSE = Cause(id="1", source="s", type="t", topic="headrace.events", partition=0, offset=0, time=AT)


def job(key: str = "k", name: str = "a") -> Job:
    return Job(
        format=1, run_id="r", app="shop", automation=name, version=1, generation=0, segment=0, attempt=1, key=key,
        priority="normal", trigger={}, cause=CAUSE,
    )  # fmt: skip


def record(offset: int, job: Job) -> Record:
    key = job_key(job.app, job.automation, job.key).encode()
    return Record("headrace.jobs.normal", 0, offset, 0, key, write_job(job), [])


def limits(**document: object) -> Limits:
    found = Limits()
    put(found, 1, **document)
    return found


def put(limits: Limits, revision: int, **document: object) -> None:
    live = {"format": 1, "revision": revision, "version": 1, "state": "enabled", "document": {**DOCUMENT, **document}}
    LiveAutomations(limits.heed).apply(Record("automations", 0, 0, 0, b"shop/a", orjson.dumps(live), []))


class Works:
    """Handled records that end when they are told to, and what was under way meanwhile."""

    def __init__(self, limits: Limits) -> None:
        self.ends: dict[int, asyncio.Event] = {}
        self.under_way: dict[bytes, set[int]] = defaultdict(set)
        self.most: dict[bytes, int] = defaultdict(int)
        self.started: dict[bytes, list[int]] = defaultdict(list)
        self.finished: list[Turn] = []
        ledgers = Ledgers(4_000)
        ledgers.assigned(("headrace.jobs.normal", 0), 1, None)
        self.dispatcher = Dispatcher(
            StreamConfig({}, "g", ["t"], "c", "t", width=limits.width),
            lambda record, turn: self._work(record),
            cast(Any, None),
            ledgers,
            self.finished.append,
            lambda turn: False,
        )

    async def _work(self, record: Record) -> Sequence[Outgoing]:
        key = record.key or b""
        self.started[key].append(record.offset)
        self.under_way[key].add(record.offset)
        self.most[key] = max(self.most[key], len(self.under_way[key]))
        self.ends[record.offset] = asyncio.Event()
        await self.ends[record.offset].wait()
        self.under_way[key].discard(record.offset)
        return []

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)


@given(
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=30),
    st.integers(1, 4),
    st.lists(st.integers(0, 29), max_size=60),
)
async def test_never_more_runs_of_a_key_than_the_limit_in_their_order_and_all_to_their_end(
    keys: list[str], limit: int, ends: list[int]
) -> None:
    works = Works(limits(concurrency={"key": "{{ fields.k }}", "limit": limit}))
    records = [record(offset, job(key)) for offset, key in enumerate(keys)]
    for each in records:
        works.dispatcher.offer(each, 1)
    await works.settle()
    of = {key: [each.offset for each in records if each.key == key] for key in {each.key or b"" for each in records}}
    for key, offsets in of.items():
        assert len(works.under_way[key]) == min(limit, len(offsets)), "other keys hold nobody up"
    for number in [*ends, *range(30)] * 30:
        if len(works.finished) == len(records):
            break
        if number in works.ends:
            works.ends[number].set()
            await works.settle()
    assert sorted(turn.record.offset for turn in works.finished) == list(range(len(records)))
    assert works.started == of, "they start in their order"
    assert works.most == {key: min(limit, len(offsets)) for key, offsets in of.items()}


def test_the_limit_is_that_of_the_live_version_and_what_has_none_runs_one_by_one() -> None:
    found = Limits()
    here = record(0, job())
    assert found.width(here) == 1
    put(found, 1, concurrency={"key": "x", "limit": 5})
    assert found.width(here) == 5
    assert found.width(record(0, job(name="b"))) == 1
    assert found.width(record(0, job("k/l/m"))) == 5
    put(found, 2, rate={"key": "x", "limit": 3, "per": "1s"}, concurrency={"key": "x", "limit": 2})
    assert found.width(here) == 2
    put(found, 3, rate={"key": "x", "limit": 3, "per": "1s"})
    assert found.width(here) == UNLIMITED
    put(found, 4, rate={"key": "x", "limit": 3, "per": "1s"}, ordering_key="x")
    assert (found.width(here), found.rates["shop/a"].limit) == (1, 3)
    put(found, 5)
    assert (found.width(here), found.rates) == (1, {})
    put(found, 6, concurrency={"key": "x", "limit": 5}, rate={"key": "x", "limit": 3, "per": "1s"})
    found.heed("shop/a", None, None)
    assert (found.width(here), found.rates) == (1, {})


ARRIVALS = st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 3_000_000)), min_size=1, max_size=60)


@given(ARRIVALS, st.integers(1, 5), st.floats(0.001, 5))
def test_no_more_starts_than_the_limit_in_any_span_and_in_order_of_arrival(
    arrivals: list[tuple[str, int]], limit: int, per: float
) -> None:
    rate, rates, now = Rate(key="k", limit=limit, per=per), Rates(), AT
    starts: dict[str, list[datetime]] = defaultdict(list)
    for offset, (key, pause) in enumerate(arrivals):
        now += timedelta(microseconds=pause)
        start = rates.start(job(key), record(offset, job(key)), rate, now)
        assert start >= now
        starts[key].append(start)
    for times in starts.values():
        assert times == sorted(times)
        spans = zip(times, times[limit:], strict=False)
        assert all(later - earlier >= timedelta(microseconds=round(per * 1e6)) for earlier, later in spans)


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 3), st.data())
def test_places_hold_over_a_restart_as_their_holders_come_back(
    limit: int, jobs: int, newcomers: int, data: st.DataObject
) -> None:
    rate, rates = Rate(key="k", limit=limit, per=60), Rates()
    given_before = [rates.start(job(), record(offset, job()), rate, AT) for offset in range(jobs)]
    waiting = [read_job(delayed(job(), start)) for start in given_before if start > AT + timedelta(seconds=5)]
    after, now = Rates(), AT + timedelta(seconds=1)
    starts = [
        after.start(each, record(offset, each), rate, now)
        for offset, each in enumerate(data.draw(st.permutations(waiting)))
    ]
    assert sorted(starts) == [each.not_before for each in waiting], "each keeps its place"
    starts += [after.start(job(), record(1000 + n, job()), rate, now) for n in range(newcomers)]
    starts.sort()
    # Those that started just before the restart are not known after it.
    assert all(later - earlier >= timedelta(seconds=60) for earlier, later in zip(starts, starts[limit:], strict=False))


def test_whoever_comes_too_late_takes_a_new_place() -> None:
    rate, rates = Rate(key="k", limit=1, per=60), Rates()
    late = [read_job(delayed(job(), AT + timedelta(minutes=n))) for n in range(3)]
    now = AT + timedelta(hours=1)
    starts = [rates.start(each, record(offset, each), rate, now) for offset, each in enumerate(late)]
    assert starts == [now + timedelta(minutes=n) for n in range(3)]


def test_keys_that_no_start_depends_on_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.rates.FORGET_AT", 10)
    rate, rates, now = Rate(key="k", limit=2, per=1), Rates(), AT
    for number in range(1_000):
        now += timedelta(seconds=1)
        each = record(number, job(str(number)))
        rates.start(job(str(number)), each, rate, now)
        rates.done(each)
    assert len(rates._keys) <= 10  # pyright: ignore[reportPrivateUsage]
    assert rates._given == {}  # pyright: ignore[reportPrivateUsage]


SETTINGS = load_settings(kafka_bootstrap_servers="nowhere:1", mongodb_uri="mongodb://nowhere")


class OnePlan:
    def __init__(self, document: dict[str, Any] = DOCUMENT) -> None:
        self.plan = compile_plan(parse_automation(document), 1)
        self.is_away = False

    def cached(self, job: Job) -> Any:
        if self.is_away:
            raise Unavailable("away")
        return self.plan


def runner(
    found: Limits, plans: OnePlan, cancellations: Cancellations | None = None, pauses: Pauses | None = None
) -> JobRunner:
    ports = Ports(rows=NoRows(), http=cast(Any, None))
    letters, cancellations = DeadLetterWriter("orchestrator", SETTINGS), cancellations or Cancellations(cast(Any, None))
    heads, listeners, pauses = cast(Any, Anyones()), Listeners(), Pauses() if pauses is None else pauses
    return JobRunner(
        SETTINGS, cast(Any, plans), Orchestrator(ports), heads, letters, listeners, cancellations, found, pauses
    )


async def handled(runner: JobRunner, record: Record) -> Sequence[Outgoing]:
    made = runner(record, Turn(record, 1))
    return made if isinstance(made, Sequence) else await made


async def handle(runner: JobRunner, record: Record) -> Outgoing:
    (outgoing,) = await handled(runner, record)
    return outgoing


async def test_a_run_over_its_rate_leaves_for_the_longest_tier_that_ends_before_its_start() -> None:
    run = runner(limits(rate={"key": "x", "limit": 1, "per": "20m"}), OnePlan())
    assert (await handle(run, record(0, job()))).topic == "headrace.runs"
    made = [await handled(run, record(offset, job())) for offset in (1, 2)]
    assert [[each.topic for each in both] for both in made] == [["headrace.runs", "headrace.jobs.retry.10m"]] * 2
    waiting = [read_job(each.value) for _, each in made]
    assert [each.segment for each in waiting] == [1, 1], "a copy of the job that is woken later is stale"
    first, second = (each.not_before for each in waiting)
    assert first is not None
    assert second is not None
    assert second - first == timedelta(minutes=20)
    told = [orjson.loads(each.value or b"") for each, _ in made]
    assert [(each["status"], each["next"]["what"], each["sequence"]) for each in told] == [("waiting", "rate", 1)] * 2
    assert [datetime.fromisoformat(each["next"]["due"]) for each in told] == [first, second]
    soon = datetime.now(UTC) + timedelta(seconds=30)
    made = [await handle(run, record(9, read_job(delayed(job("other"), soon))))]
    assert [each.topic for each in made] == ["headrace.jobs.retry.5s"]
    assert run._rates._given == {}  # pyright: ignore[reportPrivateUsage]


async def test_a_cancelled_run_needs_no_place_to_end_whether_it_is_queued_or_in_a_tier() -> None:
    found, plans = limits(rate={"key": "x", "limit": 1, "per": "1h"}), OnePlan()
    loop: Any = SimpleNamespace(call_soon=lambda work: work())
    cancellations = Cancellations(loop)
    run = runner(found, plans, cancellations)
    await handle(run, record(0, job()))
    cancel = Cancel(app="shop", automation="a", by="me", reason="", at=datetime.now(UTC))
    cancellations.apply(Record("control", 0, 0, 0, b"shop/a", write_cancel(cancel), []))
    for each in (job(), read_job(delayed(job(), datetime.now(UTC) + timedelta(hours=1)))):
        ended = await handle(run, record(1, each))
        assert (ended.topic, orjson.loads(ended.value or b"")["status"]) == ("headrace.runs", "cancelled")


async def test_a_paused_run_takes_no_place_and_one_that_has_a_place_waits_for_the_end_of_the_pause() -> None:
    document = LiveDocument.model_validate({"app": "shop", "name": "a", "trigger": {"type": "event"}})
    paused = Live(revision=2, state="paused", by="ann", reason="x", document=document)
    pauses = Pauses()
    run = runner(limits(rate={"key": "x", "limit": 1, "per": "100ms"}), OnePlan(), pauses=pauses)
    assert (await handle(run, record(0, job()))).topic == "headrace.runs"
    soon = asyncio.create_task(handled(run, record(1, job())))
    await asyncio.sleep(0)
    pauses.heed("shop/a", None, paused)
    slow = runner(limits(rate={"key": "x", "limit": 1, "per": "1h"}), OnePlan(), pauses=pauses)
    for made in (await soon, *[await handled(slow, record(offset, job())) for offset in range(2)]):
        ended, timer = made
        assert (ended.topic, orjson.loads(ended.value or b"")["status"]) == ("headrace.runs", "waiting")
        assert (timer.topic, timer.partition) == ("headrace.timers", 0)
    assert run._rates._given == {}  # pyright: ignore[reportPrivateUsage]


async def test_a_start_that_is_soon_is_waited_for_and_what_goes_on_is_no_start() -> None:
    run, began = runner(limits(rate={"key": "x", "limit": 1, "per": "50ms"}), OnePlan()), datetime.now(UTC)
    made = await asyncio.gather(*(handle(run, record(offset, job())) for offset in range(4)))
    times = sorted(datetime.fromisoformat(orjson.loads(each.value or b"")["started_at"]) for each in made)
    # Never early. The record's time is cut to milliseconds.
    early = timedelta(milliseconds=1)
    assert all(time >= began + number * timedelta(milliseconds=50) - early for number, time in enumerate(times))
    run = runner(limits(rate={"key": "x", "limit": 1, "per": "1h"}), OnePlan())
    retried = job().model_copy(update={"segment": 1})
    assert [(await handle(run, record(offset, retried))).topic for offset in range(3)] == ["headrace.runs"] * 3


async def test_a_wait_that_is_cut_off_leaves_nothing_behind() -> None:
    run = runner(limits(rate={"key": "x", "limit": 1, "per": "5s"}), OnePlan())
    await handle(run, record(0, job()))
    waiting = asyncio.create_task(handle(run, record(1, job())))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert run._rates._given == {}  # pyright: ignore[reportPrivateUsage]


async def test_an_outage_costs_a_run_no_place() -> None:
    plans = OnePlan()
    run = runner(limits(rate={"key": "x", "limit": 1, "per": "1h"}), plans)
    plans.is_away = True
    for _ in range(5):
        with pytest.raises(Unavailable):
            await handle(run, record(0, job()))
    plans.is_away = False
    assert (await handle(run, record(0, job()))).topic == "headrace.runs"
    _, later = await handled(run, record(1, job()))
    waiting = read_job(later.value)
    assert waiting.not_before is not None
    assert waiting.not_before - datetime.now(UTC) < timedelta(hours=1)
