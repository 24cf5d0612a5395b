"""Secrets: seen by the app's own templates, and masked in whatever its runs leave to be read."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.engine import (
    Claim,
    Claimed,
    HttpAnswer,
    HttpRequest,
    Journal,
    NewRow,
    Orchestrator,
    Outcome,
    Ports,
    RowCreated,
    RowEffect,
    RowEntry,
    RowPage,
    RowQuery,
    Started,
    compile_plan,
    encode_record,
)
from headrace.engine.apps import NOT_CONFIGURED, AppConfig
from headrace.engine.masking import Mask
from headrace.language import LanguageError
from headrace.matching import compile_definition

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)
SECRET = 'hunter2/+"ü'
CONFIG = AppConfig(env={"REGION": "eu"}, secrets={"KEY": SecretStr(SECRET)}, settings={"company": "Airport"})


class World:
    """Remembers what was sent, written and noted; HTTP answers with what it was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.rows: list[Mapping[str, object]] = []
        self.entries: list[bytes] = []

    async def apply(self, effect: RowEffect[Any]) -> Any:
        assert isinstance(effect, NewRow)
        self.rows.append(effect.row)
        return RowCreated(effect.row, True)

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.sent.append(request.body or b"")
        return HttpAnswer(200, {"content-type": "application/json"}, request.body or b"null")

    async def claim(self, claim: Claim) -> Claimed:
        return Claimed("new")

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        self.entries.append(entry)

    async def append_with_row(self, claim: Claim, number: int, entry: RowEntry[Any], effect: RowEffect[Any]) -> Any:
        outcome = await self.apply(effect)
        self.entries.append(entry.of(outcome))
        return outcome


def run(*steps: Mapping[str, Any], world: World | None = None, app: str = "airport", resumed: bool = False) -> Outcome:
    world = world or World()
    document = {"name": "a", "app": app, "trigger": {"type": "event", "event": "*"}, "steps": list(steps)}
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": "r-1", "app": app, "automation": "a", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": {"data": {"n": 1}}, "cause": cause}
    )  # fmt: skip
    where = Location("jobs", 0, 0)
    journal = Journal(world, Claim("r-1", where, where, 0, 0, "w"), world.entries if resumed else [])
    ports = Ports(rows=world, http=world, apps=lambda name: CONFIG if name == "airport" else NOT_CONFIGURED)
    plan = compile_plan(parse_automation(document), 1)
    return asyncio.run(Orchestrator(ports).execute(plan, Started(job, where, AT), journal))


def log(text: str) -> dict[str, Any]:
    return {"id": "line", "use": "log", "with": {"text": text}}


def test_templates_see_their_own_apps_environment_secrets_and_settings() -> None:
    text = "{{ env.REGION }} {{ settings.company }} {{ secrets.KEY | length }}"
    assert run(log(text)).record["steps"][0].get("outputs") == {"success": True, "text": f"eu Airport {len(SECRET)}"}
    assert run(log(text), app="other").record["steps"][0].get("outputs") == {"success": True, "text": "  0"}


CALL = {
    "id": "call",
    "use": "http.request",
    "with": {"url": "http://x/", "method": "POST", "json": "{{ secrets.KEY }}"},
}


def test_a_secret_stands_nowhere_in_a_record_and_everywhere_where_it_was_meant_to_go() -> None:
    world = World()
    outcome = run(
        log("key {{ secrets.KEY }} as {{ {'a': secrets.KEY} | tojson }} in ?q={{ secrets.KEY | urlencode }}"),
        CALL,
        {"id": "fail", "use": "row.create", "with": {"table": "{{ secrets.KEY }}", "row": {}}},
        {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"key": "{{ secrets.KEY }}"}}},
        {"id": "way", "branch": [{"name": "a", "else": True, "steps": [{**log("{{ steps.call.data }}"), "id": "in"}]}]},
        {"id": "event", "use": "event.publish", "with": {"type": "x", "data": {"key": "{{ secrets.KEY }}"}}},
        {"id": "answer", "collect": {"{{ secrets.KEY }}": ["{{ secrets.KEY }}"]}},
        world=world,
    )
    text = encode_record(outcome.record).decode()
    assert "hunter2" not in text
    assert "hunter2" not in repr(outcome.record)
    assert text.count("***") >= 8
    assert world.rows == [{"key": SECRET}]
    assert b"hunter2" in world.sent[0]
    assert b"hunter2" in outcome.publications[0].value


def test_a_run_that_goes_on_sees_the_true_values_and_still_masks_them() -> None:
    world = World()
    steps = (CALL, {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"key": "{{ steps.call.data }}"}}})
    run(CALL, world=world)
    outcome = run(*steps, world=world, resumed=True)
    assert len(world.sent) == 1
    assert world.rows == [{"key": SECRET}]
    assert "hunter2" not in repr(outcome.record)


def test_inputs_are_masked_in_the_journal_too() -> None:
    world = World()
    run({**CALL, "with": {**CALL["with"], "query": {"q": "{{ secrets.KEY }}"}}}, world=world)
    (entry,) = world.entries
    assert b'"q":"***"' in entry


@pytest.mark.parametrize(
    ("step", "hides"),
    [
        (log("{{ env.REGION }} hunter2"), False),
        (log("{{ secrets.KEY }}"), True),
        ({"id": "f", "filter": {"all": [{"field": "secrets.KEY", "op": "eq", "value": 1}]}}, True),
        ({"id": "c", "collect": [{"x": ["{{ [secrets][0].KEY }}"]}]}, True),
        ({"id": "b", "branch": [{"name": "x", "when": "{{ secrets.KEY == 1 }}", "steps": [log("x")]}]}, True),
        ({"id": "q", "use": "sql.query", "with": {"connection": "db", "query": "SELECT 1"}}, True),
    ],
)
def test_only_automations_that_can_know_a_secret_are_searched(step: dict[str, Any], hides: bool) -> None:
    document = {"name": "a", "app": "b", "trigger": {"type": "event", "event": "*"}, "steps": [step]}
    assert compile_plan(parse_automation(document), 1).hides_secrets is hides


@pytest.mark.parametrize("place", ["when", "ordering_key", "filter"])
def test_triggers_know_no_secrets(place: str) -> None:
    source: Any = "{{ secrets.KEY == 'x' }}"
    document: dict[str, Any] = {
        "name": "a",
        "app": "b",
        "trigger": {"type": "event", "event": "*"},
        "steps": [log("x")],
    }
    if place == "ordering_key":
        document["ordering_key"] = source
    else:
        field = {"all": [{"field": "secrets.KEY", "op": "eq", "value": "x"}]}
        document["trigger"]["when"] = source if place == "when" else field
    live = LiveAutomation(format=1, revision=0, version=0, state="enabled", document=parse_automation(document))
    with pytest.raises(LanguageError, match="unknown root 'secrets'"):
        compile_definition(live)


KEYS = st.text(max_size=4) | st.just(SECRET)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([SECRET, f"a{SECRET}b{SECRET}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=20,
)


@given(VALUES)
def test_no_depth_of_a_value_hides_a_secret_and_all_else_stays(value: object) -> None:
    masked = Mask([SECRET]).value(value)
    assert SECRET not in repr(masked)
    assert "hunter2" not in repr(masked)
    if "hunter2" not in repr(value):
        assert masked == value


def test_short_values_are_no_secrets_and_of_two_the_longer_goes_first() -> None:
    assert Mask(["abc"]).text("abcabc") == "abcabc"
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh abcd") == "*** ***"


def test_a_secret_is_masked_as_html_spells_it() -> None:
    assert Mask(["a<b>&\"c'"]).text("x a&lt;b&gt;&amp;&quot;c&#x27; y") == "x *** y"
