"""Ends of runs: told to whoever listens, and to nobody else; a circle of automations comes to an end."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs
from test_engine import NoRows

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.cloudevents import Event, Location, event_headers, read_event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, read_job
from headrace.contracts.reserved import End, read_end
from headrace.contracts.runs import FINAL_STATUSES
from headrace.engine import Claim, Claimed, HttpAnswer, HttpRequest, Orchestrator, Plan, Ports, compile_plan
from headrace.engine.apps import AppConfig
from headrace.matching import Index, compile_definition, match_end
from headrace.service import DeadLetterWriter
from headrace.settings import load_settings
from headrace.streams import Outgoing, Record, Turn
from services.orchestrator.cancellations import Cancellations
from services.orchestrator.jobs import JobRunner
from services.orchestrator.limits import Limits
from services.orchestrator.listeners import Listeners
from services.orchestrator.live import LiveAutomations
from services.orchestrator.pauses import Pauses
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.definitions import Definitions
from services.trigger_matcher.events import RecordMatcher

pytestmark = pytest.mark.unit

SETTINGS = load_settings(prefix="headrace", kafka_bootstrap_servers="nowhere:1", mongodb_uri="mongodb://nowhere")
LETTERS = DeadLetterWriter("test", SETTINGS)
AT = datetime(2013, 1, 1, tzinfo=UTC)
LOG = {"id": "x", "use": "log", "with": {"text": "y"}}


def live(name: str, trigger: Mapping[str, Any], *steps: Any, revision: int = 1, state: str = "enabled") -> Record:
    document = {"name": name, "app": "shop", "trigger": trigger, "steps": steps or [LOG]}
    made = {"format": 1, "revision": revision, "version": revision, "state": state, "document": document}
    return Record("headrace.automations", 0, 7, 0, f"shop/{name}".encode(), orjson.dumps(made), [])


def gone(name: str) -> Record:
    return Record("headrace.automations", 0, 7, 0, f"shop/{name}".encode(), None, [])


NAMES = st.sampled_from(["a", "b", "c"])
TRIGGERS = st.one_of(
    st.just({"type": "manual"}),
    st.builds(
        lambda type, of: {"type": type, "automation": of},
        st.sampled_from(["automation.finished", "automation.failed"]),
        st.sampled_from(["a", "b", "c", "*"]),
    ),
)
CHANGES = st.one_of(
    NAMES.map(gone),
    st.builds(
        lambda name, trigger, revision, state: live(name, trigger, revision=revision, state=state),
        NAMES,
        TRIGGERS,
        st.integers(1, 4),
        st.sampled_from(["enabled", "enabled", "disabled"]),
    ),
)


@given(st.lists(CHANGES, max_size=12))
def test_an_end_is_published_exactly_where_the_matcher_finds_a_listener(changes: list[Record]) -> None:
    index, listeners = Index(), Listeners()
    automations = LiveAutomations(listeners.heed)
    definitions = Definitions(index)
    for change in changes:
        definitions.apply(change)
        automations.apply(change)
    event = Event("1", "s", "headrace.ended", AT, "", "shop", "", "")
    for name in ("a", "b", "c", "d"):
        for status in FINAL_STATUSES:
            end = End(automation=name, run_id="r", status=status)
            found = match_end(index, event, end, "k", Location("events", 0, 0))
            assert listeners.hear("shop", name, status) == bool(found)
            assert not listeners.hear("elsewhere", name, status)


def test_a_listener_that_cannot_be_read_is_logged_without_its_values_and_leaves_the_one_before() -> None:
    listeners = Listeners()
    automations = LiveAutomations(listeners.heed)
    automations.apply(live("a", {"type": "automation.finished", "automation": "b"}))
    for value in (b"hunter2", b'{"revision": "hunter2"}', b"[" * 5_000):
        with capture_logs() as logs:
            automations.apply(Record("headrace.automations", 3, 42, 0, b"shop/a", value, []))
        assert (logs[0]["automation"], logs[0]["partition"], logs[0]["offset"]) == ("shop/a", 3, 42)
        assert "hunter2" not in str(logs)
    assert listeners.hear("shop", "b", "success")


class Anyones:
    """Heads that let everyone own its run, and keep nothing."""

    async def claim(self, claim: Claim) -> Claimed:
        return Claimed("new")

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        pass


class Broken:
    async def send(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(503, {}, b"")


class Compiled:
    """The plans of these automations."""

    def __init__(self, automations: Sequence[Record]) -> None:
        found = [LiveAutomation.model_validate_json(each.value or b"") for each in automations]
        self._plans = {each.document.name: compile_plan(each.document, each.version) for each in found}

    def cached(self, job: Job) -> Plan:
        return self._plans[job.automation]


class System:
    """Matcher and orchestrator on these automations, with topics in memory."""

    def __init__(self, *automations: Record, apps: Any = None) -> None:
        index, listeners = Index(), Listeners()
        topic = LiveAutomations(listeners.heed)
        definitions = Definitions(index)
        for each in automations:
            definitions.apply(each)
            topic.apply(each)
        ports = Ports(rows=NoRows(), http=Broken(), **({} if apps is None else {"apps": apps}))
        plans, heads = cast(Any, Compiled(automations)), cast(Any, Anyones())
        self._matcher = RecordMatcher(index, SETTINGS, LETTERS, AppRates(None, float))
        cancellations, limits, pauses = Cancellations(cast(Any, None)), Limits(), Pauses()
        self._runner = JobRunner(
            SETTINGS, plans, Orchestrator(ports), heads, LETTERS, listeners, cancellations, limits, pauses
        )
        self.made: list[Outgoing] = []
        self.hands_over = False
        """Whether each run is asked to leave in its first segment."""

    def publish(self, type: str, data: object = None) -> None:
        """Does all that follows from an event."""
        event = Event("1", "outside", type, AT, "", "shop", "", "")
        asyncio.run(self._all(Outgoing("headrace.events", b"k", orjson.dumps(data), event_headers(event))))

    async def _all(self, first: Outgoing) -> None:
        waiting = deque([first])
        while waiting:
            assert len(self.made) < 10_000, "no end of it"
            each = waiting.popleft()
            record = Record(each.topic, 0, len(self.made), 0, each.key, each.value, each.headers)
            if each.topic == "headrace.events":
                (made,) = self._matcher([record])
            elif each.topic.startswith("headrace.jobs.") and not each.topic.endswith("dlq"):
                turn = Turn(record, 1)
                turn.hand_over = self.hands_over and each.topic.endswith("normal")
                made = self._runner(record, turn)
                made = made if isinstance(made, Sequence) else await made
            else:
                continue
            self.made += made
            waiting += made

    def on(self, topic: str) -> list[Any]:
        """The bodies of a topic's records."""
        return [orjson.loads(each.value or b"") for each in self.made if each.topic == f"headrace.{topic}"]

    def ends(self) -> list[tuple[Event, End]]:
        """The ends of runs on the events topic, as a matcher reads them."""
        found: list[tuple[Event, End]] = []
        for each in self.made:
            if each.topic == "headrace.events" and dict(each.headers)["ce_type"] == b"headrace.ended":
                event = read_event(each.headers, Location("events", 0, 0), 0)
                found.append((event, read_end(orjson.loads(each.value or b""))))
        return found


GO = {"type": "event", "event": "go"}
AFTER_ALL = live("after", {"type": "automation.finished", "automation": "*"})


def test_an_end_says_whose_it_is_how_it_was_and_what_came_of_it() -> None:
    system = System(live("a", GO, {"id": "out", "collect": "{{ trigger.data.n }}"}), AFTER_ALL)
    system.publish("go", {"n": 7})
    ((event, end),) = system.ends()
    (run,) = (run for run in system.on("runs") if run["automation"] == "a")
    assert end == End(automation="a", run_id=run["run_id"], status="success", error=None, collected=7)
    assert (event.source, event.subject, event.app, event.chain) == (
        "headrace/shop/a", run["run_id"], "shop", ("shop/a",)
    )  # fmt: skip
    assert event.time.isoformat() == run["finished_at"].replace("Z", "+00:00")
    (after,) = (run for run in system.on("runs") if run["automation"] == "after")
    assert (after["key"], after["status"]) == ("k", "success")


ASK = {"id": "ask", "use": "http.request", "with": {"url": "http://other.example"}, "retry": {"attempts": 1}}
LISTENING = ["automation.finished", "automation.failed"]


@pytest.mark.parametrize(
    ("step", "status", "heard_by"),
    [
        (LOG, "success", LISTENING[:1]),
        ({"id": "x", "filter": False}, "stopped", LISTENING[:1]),
        ({"id": "x", "use": "log", "with": {"text": "{{ 1 / 0 }}"}}, "error", LISTENING),
        ({**ASK, "on_error": "contain"}, "error", LISTENING),
        ({**ASK, "on_error": "retry"}, "dead_lettered", LISTENING),
    ],
)
@pytest.mark.parametrize("listener", LISTENING)
def test_an_end_is_told_once_to_what_listens_to_its_kind(
    step: Any, status: str, heard_by: list[str], listener: str
) -> None:
    system = System(live("a", GO, step), live("b", {"type": listener, "automation": "a"}))
    system.publish("go")
    assert [end.status for _, end in system.ends()] == ([status] if listener in heard_by else [])
    assert Counter(run["automation"] for run in system.on("runs"))["b"] == (listener in heard_by)


def test_a_run_that_goes_on_elsewhere_has_not_ended_yet() -> None:
    publish = {"id": "x", "use": "event.publish", "with": {"type": "unheard"}}
    system = System(live("a", GO, publish), AFTER_ALL)
    system.hands_over = True
    system.publish("go")
    assert [run["status"] for run in system.on("runs") if run["automation"] == "a"] == ["retrying", "success"]
    assert [end.status for _, end in system.ends()] == ["success"]


def test_without_a_listener_no_end_is_published() -> None:
    system = System(
        live("a", GO), live("b", GO, {"id": "x", "call": {"automation": "c"}}), live("c", {"type": "manual"})
    )
    system.publish("go")
    assert len(system.on("runs")) == 3
    assert system.ends() == []


def test_what_an_end_tells_is_cut_plain_and_without_secrets() -> None:
    def apps(app: str) -> AppConfig:
        return AppConfig(secrets={"key": SecretStr("hunter2hunter2")})

    for value in ("{{ 'x' * 900000 }}", "{{ secrets.key }}", "{{ 2 ** 60 * 64 }}", "{{ secrets.key ~ 'x' * 70000 }}"):
        system = System(live("a", GO, {"id": "out", "collect": value}), AFTER_ALL, apps=apps)
        system.publish("go")
        (_, end), (run,) = system.ends()[0], [run for run in system.on("runs") if run["automation"] == "a"]
        assert end.collected == run["collected"]
        assert "hunter2" not in str(end)
        assert system.on("jobs.dlq") == []
        assert {run["automation"] for run in system.on("runs")} == {"a", "after"}


def test_a_circle_of_ends_is_refused_at_its_limit_by_a_record_that_shows_it() -> None:
    around = [live(name, {"type": "automation.finished", "automation": "*"}) for name in ("ping", "pong")]
    system = System(live("kick", GO), *around)
    system.publish("go")
    # Both hear the first end, and from then on each hears the other; of one that was refused the other hears as well.
    runs = system.on("runs")
    done = Counter(run["automation"] for run in runs if run["status"] == "success")
    assert done == {"kick": 1, "ping": LONGEST_CHAIN, "pong": LONGEST_CHAIN}
    refused = [run for run in runs if run["status"] == "error"]
    assert {run["error"]["type"] for run in refused} == {"chain_too_long"}
    told = [run["error"]["message"] for run in refused]
    way = "shop/kick → shop/ping → shop/pong → shop/ping → shop/pong → shop/ping → shop/pong"
    assert f"not run: 6 runs led here, 5 may: {way}; these start each other in a circle" in told
    assert all(run["steps"] == [] for run in refused)
    assert system.on("jobs.dlq") == []


@pytest.mark.parametrize("step", [{"call": {"automation": "a"}}, {"use": "event.publish", "with": {"type": "again"}}])
def test_a_circle_of_calls_or_events_is_refused_at_its_limit(step: dict[str, Any]) -> None:
    trigger = {"type": "manual"} if "call" in step else {"type": "event", "event": "again"}
    again = {"id": "again", **step}
    system = System(live("kick", GO, again), live("a", trigger, again))
    system.publish("go")
    runs = system.on("runs")
    assert [run["status"] for run in runs] == ["success"] * (LONGEST_CHAIN + 1) + ["error"]
    assert runs[-1]["error"]["type"] == "chain_too_long"
    assert system.on("jobs.dlq") == []


LONGEST_CHAIN = 5
EVENTS = 3
PUBLISH = st.integers(0, EVENTS - 1).map(lambda n: {"use": "event.publish", "with": {"type": f"e{n}"}})
CALL = NAMES.map(lambda name: {"call": {"automation": name}})


@settings(max_examples=60)
@given(
    st.lists(st.tuples(TRIGGERS, st.lists(st.one_of(PUBLISH, CALL), max_size=1)), min_size=3, max_size=3),
    st.lists(st.one_of(PUBLISH, CALL), min_size=EVENTS, max_size=EVENTS),
)
def test_automations_that_start_each_other_by_calls_and_ends_come_to_an_end(
    found: list[tuple[Any, list[Any]]], on_events: list[Any]
) -> None:
    automations = [
        live(name, trigger, *[{"id": f"s{i}", **step} for i, step in enumerate(steps)])
        for name, (trigger, steps) in zip("abc", found, strict=True)
    ]
    for number, step in enumerate(on_events):
        automations.append(live(f"on-e{number}", {"type": "event", "event": f"e{number}"}, {"id": "s", **step}))
    system = System(*automations)
    system.publish("e0")
    jobs = [read_job(each.value) for each in system.made if each.topic == "headrace.jobs.normal"]
    assert all(len(job.chain) <= LONGEST_CHAIN + 1 for job in jobs)


@pytest.mark.parametrize("chain", [b"", b"a", b"a/b,", b"A/b", b"a/b/c", b"\xff/a", b"a/b," * 20_000])
def test_a_chain_that_is_none_is_refused(chain: bytes) -> None:
    event = Event("1", "s", "go", AT, "", "shop", "", "")
    with pytest.raises(ContractError, match="headrace_chain"):
        read_event([*event_headers(event), ("headrace_chain", chain)], Location("events", 0, 0), 0)


def test_an_event_keeps_its_chain() -> None:
    event = Event("1", "s", "go", AT, "", "shop", "", "", chain=("shop/x", "shop/y"))
    assert read_event(event_headers(event), Location("events", 0, 0), 0) == event
    document = parse_automation({"name": "a", "app": "shop", "trigger": GO, "steps": [LOG]})
    index = Index()
    index.put(compile_definition(LiveAutomation(format=1, revision=1, version=1, state="enabled", document=document)))
    record = Record("headrace.events", 0, 0, 0, b"k", b"{}", event_headers(event))
    ((job,),) = RecordMatcher(index, SETTINGS, LETTERS, AppRates(None, float))([record])
    assert read_job(job.value).chain == ("shop/x", "shop/y")


CHILD = live("child", {"type": "manual"})


def called(automation: str, *, awaits: bool) -> dict[str, object]:
    parent = {"run_id": "p", "automation": "caller", "step": "p/0/call/0", "awaits": awaits}
    return {"automation": automation, "parent": parent}


def test_who_waits_for_a_run_is_told_its_end_under_its_id() -> None:
    system = System(CHILD)
    system.publish("headrace.called", called("child", awaits=True))
    (run,), (told,) = system.on("runs"), system.on("waits")
    (record,) = [each for each in system.made if each.topic == "headrace.waits"]
    assert record.key == f"shop/headrace.ended/{run['run_id']}".encode()
    assert (told["kind"], told["data"]["run_id"], told["data"]["status"]) == ("event", run["run_id"], run["status"])
    assert run["parent"] == {"run_id": "p", "automation": "caller", "step": "p/0/call/0"}


def test_where_nobody_waits_nobody_is_told() -> None:
    system = System(CHILD)
    system.publish("headrace.called", called("child", awaits=False))
    assert len(system.on("runs")) == 1
    assert system.on("waits") == []


def test_who_waits_for_a_run_that_never_begins_is_told_so_at_once() -> None:
    system = System(CHILD)
    system.publish("headrace.called", called("nobody", awaits=True))
    (told,) = system.on("waits")
    assert (told["data"]["status"], told["data"]["error"]["type"]) == ("error", "not_started")
    assert "no automation nobody" in told["data"]["error"]["message"]
    assert system.on("runs") == []
