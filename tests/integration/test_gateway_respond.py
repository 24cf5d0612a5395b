"""Synchronous webhooks over real HTTP: the caller gets what its run has collected, at whichever gateway it waits."""

import os
import re
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_hex
from typing import Any

import pytest
import yaml
from conftest import DEADLINE_S, Installation, until
from gateway_support import APP, Answer, Client, client_of, key_of

from headrace.contracts.automation import DocumentError
from headrace.embedded import Stack, Supervisor
from headrace.installation import READS, topic_specs
from headrace.settings import Settings
from headrace.storage import RunFilter
from headrace.streams.admin import make_topics

pytestmark = pytest.mark.integration

SECRET = "the shop's own password"
ANSWER = {"id": "out", "collect": "{{ trigger.body }}"}
UNTIL_TOLD = {"id": "told", "wait_for_event": {"type": "go", "key": "{{ trigger.body.id }}", "timeout": "1h"}}
WITH_EFFECT = {"id": "note", "use": "row.create", "with": {"table": "notes", "row": {"a": "1"}}}


@pytest.fixture(scope="module")
def responding(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Generator[Installation]:
    """All services with two gateways; each test has webhooks of its own."""
    directory = tmp_path_factory.mktemp("responding")
    apps = directory / "apps.yaml"
    apps.write_text(yaml.safe_dump({"apps": {APP: {"secrets": {"PASSWORD": SECRET}}}}))
    own = {"prefix": f"test-{token_hex(4)}", "partitions": 2, "apps_file": apps}
    settings = stack.settings.model_copy(update=own)
    make_topics(settings.kafka, topic_specs(settings))
    with Supervisor(settings, directory / "logs") as services:
        for name in (*READS, "gateway"):
            services.start_service(name)
        services.start_service("gateway", 1)
        services.wait_ready()
        yield Installation(settings, services)


@pytest.fixture
def callers() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def document(name: str, *steps: Any, wait: str = "30s", **more: Any) -> dict[str, Any]:
    trigger = {"type": "webhook", "id": name, "dedupe_key": "{{ body.id }}", "respond": {"wait": wait}, **more}
    return {"name": name, "app": APP, "trigger": trigger, "steps": steps or [ANSWER]}


def open_door(installation: Installation, made: dict[str, Any], *slots: int) -> Client:
    """Applies the automation; returns a client once the gateways (of `slots`, or the first) know its webhook."""
    installation.apply(made)
    for slot in slots or (0,):
        client = client_of(installation, slot=slot)
        path = f"/webhooks/{APP}/{made['trigger']['id']}"
        until(lambda client=client, path=path: client.call("PATCH", path).status != 404, f"the webhook {path}")
    return client_of(installation, slot=(slots or (0,))[0])


def call(client: Client, webhook: str, body: object) -> Answer:
    return client.post(f"/webhooks/{APP}/{webhook}", body)


def waiting(installation: Installation, process: str) -> float:
    """How many callers wait at a gateway."""
    found = re.search(r"^headrace_callers_waiting (\S+)", installation.get(process, "/metrics"), re.M)
    return float(found[1]) if found else 0.0


def until_parked(installation: Installation, automation: str) -> None:
    """Returns when a run of it waits for its event: one that came before its start would be none of its."""
    waiting = RunFilter(APP, automation, "waiting")
    until(lambda: len(installation.ask(lambda storage: storage.runs.find(waiting))) == 1, "a run that waits")


def told(installation: Installation, process: str, how: str) -> float:
    """How many callers a gateway has told so."""
    pattern = rf'^headrace_callers_told_total{{how="{how}"}} (\S+)'
    found = re.search(pattern, installation.get(process, "/metrics"), re.M)
    return float(found[1]) if found else 0.0


def is_waiting(installation: Installation, count: int, process: str) -> Callable[[], bool]:
    return lambda: waiting(installation, process) == count


def calling(callers: ThreadPoolExecutor, client: Client, webhook: str, body: object) -> "Future[Answer]":
    return callers.submit(call, client, webhook, body)


def test_the_caller_gets_what_the_run_has_collected(responding: Installation) -> None:
    client = open_door(responding, document("echo"))
    for value in ({"id": 1, "list": [1, 2.5, None, "é"]}, {"id": 2, "long": "x" * 200_000}):
        answer = call(client, "echo", value)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == value
    # What a run has collected of a secret is masked, as in its record.
    client = open_door(responding, document("hide", {"id": "out", "collect": "{{ secrets.PASSWORD }}"}))
    answer = call(client, "hide", {"id": 1})
    assert (answer.status, answer.json) == (200, "***")
    # Nothing collected, and a run that a filter has stopped: it is done, and there is nothing to say.
    client = open_door(responding, document("quiet", {"id": "log", "use": "log", "with": {"text": "x"}}))
    assert (call(client, "quiet", {"id": 1}).status, call(client, "quiet", {"id": 2}).body) == (204, b"")
    client = open_door(responding, document("stopped", {"id": "no", "filter": "{{ trigger.body.id == 1 }}"}, ANSWER))
    assert [call(client, "stopped", {"id": id}).status for id in (1, 2)] == [200, 204]


def test_a_run_that_fails_is_told_as_such_and_nothing_of_its_error(responding: Installation) -> None:
    url = "http://{{ secrets.PASSWORD }}.invalid/{{ trigger.body.card }}"
    failing = {"id": "pay", "use": "http.request", "with": {"url": url}, "on_error": "stop", "retry": {"attempts": 1}}
    client = open_door(responding, document("failing", failing, ANSWER))
    answer = call(client, "failing", {"id": 1, "card": "4111"})
    assert (answer.status, answer.problem) == (500, "run_failed")
    (run,) = [each for each in responding.runs(APP) if each["automation"] == "failing"]
    assert answer.json["instance"] == f"/api/v1/apps/{APP}/runs/{run['_id']}"
    assert SECRET.encode() not in answer.body
    assert b"4111" not in answer.body
    assert b"invalid" not in answer.body
    # The same delivery again is the same run.
    assert call(client, "failing", {"id": 1, "card": "4111"}).problem == "run_failed"
    # An answer that is too large is no answer: JSON has six bytes for each of these characters.
    twice = {"id": "out", "collect": "{{ [trigger.body.long, trigger.body.long] }}"}
    client = open_door(responding, document("large", twice))
    answer = call(client, "large", {"id": 1, "long": "\x01" * 150_000})
    assert (answer.status, answer.problem) == (500, "answer_too_large")


def test_past_the_wait_the_caller_is_told_where_the_run_will_be(responding: Installation) -> None:
    client = open_door(responding, document("slow", UNTIL_TOLD, ANSWER, wait="300ms"))
    answer = call(client, "slow", {"id": "late"})
    assert (answer.status, answer.json["id"]) == (202, "late")
    url = answer.json["url"]
    assert url == answer.headers["location"] == f"/api/v1/apps/{APP}/runs/{answer.json['run_id']}"
    until_parked(responding, "slow")
    with responding.publisher(APP) as publisher:
        publisher.event("go", {}, key="late")
    viewer = client_of(responding, key_of(responding, "viewer"))
    until(lambda: viewer.get(url).json.get("status") == "success", "the run's end")
    assert viewer.get(url).json["collected"] == {"id": "late"}


def test_who_cannot_be_answered_is_told_so_at_once(responding: Installation) -> None:
    # With a wait that no test would survive.
    client = open_door(responding, document("never", when="{{ body.id == 'yes' }}", wait="5m"))
    assert call(client, "never", {"id": "yes"}).json == {"id": "yes"}
    answer = call(client, "never", {"id": "no"})
    assert (answer.status, answer.json) == (202, {"id": "no"})
    client = open_door(responding, document("broken", when="{{ 1 // body.none }}", wait="5m"))
    assert call(client, "broken", {"id": 1}).problem == "run_failed"
    operator = client_of(responding, key_of(responding, "operator"))
    for name, switch, asks_for_run in (("off", "disable", False), ("held", "pause", True)):
        client = open_door(responding, document(name, wait="5m"))
        path = f"/api/v1/apps/{APP}/automations/{name}/{switch}"
        assert operator.post(path, {"reason": "a test"}).status == 200

        def is_answered(client: Client = client, name: str = name, asks_for_run: bool = asks_for_run) -> bool:
            # Gateways read the topic of automations by themselves, within a tenth of a second.
            answer = call(client, name, {"id": token_hex(4)})
            return answer.status == 202 and ("url" in answer.json) == asks_for_run

        until(is_answered, f"the gateway to know of {switch}")


def test_of_a_webhooks_automations_one_responds(responding: Installation) -> None:
    first, second = document("one"), document("two", id="one")
    with pytest.raises(DocumentError, match="shop/one and shop/two both have `respond`"):
        responding.apply(first, second)
    del second["trigger"]["respond"]
    responding.apply(second)
    client = open_door(responding, first)
    assert call(client, "one", {"id": 5}).json == {"id": 5}
    assert {each["automation"] for each in responding.runs(APP) if each["event"]["id"] == "5"} == {"one", "two"}
    second["trigger"]["respond"] = {}
    with pytest.raises(DocumentError, match="both have `respond`"):
        responding.apply(second)


def test_whoever_waits_at_any_gateway_is_told(responding: Installation, callers: ThreadPoolExecutor) -> None:
    open_door(responding, document("both", UNTIL_TOLD, ANSWER), 0, 1)
    here, there = client_of(responding, slot=0), client_of(responding, slot=1)
    # The same delivery at both: one run, of which both callers are told, and two at the first.
    asked = [calling(callers, client, "both", {"id": "same"}) for client in (here, here, there)]
    until(is_waiting(responding, 2, "gateway-0"), "callers at the first gateway")
    until(is_waiting(responding, 1, "gateway-1"), "a caller at the second")
    until_parked(responding, "both")
    with responding.publisher(APP) as publisher:
        publisher.event("go", {}, key="same")
    assert [(each.result(DEADLINE_S).status, each.result().json) for each in asked] == [(200, {"id": "same"})] * 3
    assert len([each for each in responding.runs(APP) if each["automation"] == "both"]) == 1
    assert (waiting(responding, "gateway-0"), waiting(responding, "gateway-1")) == (0, 0)


def test_a_delivery_that_comes_again_gets_what_its_run_came_to(responding: Installation) -> None:
    # Runs with effects are not made again: nobody tells of their end a second time.
    client = open_door(responding, document("again", WITH_EFFECT, ANSWER), 0, 1)
    assert call(client, "again", {"id": "a", "n": 1}).json == {"id": "a", "n": 1}
    responding.await_quiet()
    for slot in (0, 1):
        before = told(responding, f"gateway-{slot}", "record")
        answer = call(client_of(responding, slot=slot), "again", {"id": "a", "n": 2})
        assert (answer.status, answer.json) == (200, {"id": "a", "n": 1})
        assert told(responding, f"gateway-{slot}", "record") == before + 1
    # Of a value that records keep only the beginning of, nobody pretends to have it.
    long = {"id": "b", "long": "x" * 100_000}
    assert call(client, "again", long).json == long
    responding.await_quiet()
    assert call(client, "again", long).problem == "answer_too_large"


def test_a_caller_that_hangs_up_is_waited_for_no_longer(responding: Installation) -> None:
    client = open_door(responding, document("gone", UNTIL_TOLD, wait="5m"))
    body = b'{"id": "gone"}'
    request = (
        b"POST /webhooks/shop/gone HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    connection = client.connect()
    connection.sendall(request % len(body) + body)
    until(is_waiting(responding, 1, "gateway-0"), "the caller")
    connection.close()
    until(is_waiting(responding, 0, "gateway-0"), "the caller to be forgotten")


Start = Callable[[Settings, Sequence[str]], Supervisor]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_that_ends_leaves_its_callers_an_answer_to_come_back_for(
    topics: Settings, start_services: Start, callers: ThreadPoolExecutor, how: signal.Signals
) -> None:
    services = start_services(topics, (*READS, "gateway"))
    installation = Installation(topics, services)
    client = open_door(installation, document("slow", UNTIL_TOLD, WITH_EFFECT, ANSWER))
    asked = calling(callers, client, "slow", {"id": "x"})
    until(is_waiting(installation, 1, "gateway-0"), "the caller")
    until_parked(installation, "slow")
    os.kill(installation.process("gateway-0").pid, how)
    if how == signal.SIGTERM:
        answer = asked.result(DEADLINE_S)
        assert (answer.status, answer.json["id"]) == (202, "x")
        assert answer.headers["location"] == answer.json["url"]
    else:
        with pytest.raises(OSError):
            asked.result(DEADLINE_S)
    with installation.publisher(APP) as publisher:
        publisher.event("go", {}, key="x")
    services.start_service("gateway", 1)
    until(lambda: "200" in _ready(installation), "the second gateway")
    again = call(client_of(installation, slot=1), "slow", {"id": "x"})
    assert (again.status, again.json) == (200, {"id": "x"})
    (run,) = installation.runs(APP)
    assert (run["status"], run["collected"]) == ("success", {"id": "x"})


def _ready(installation: Installation) -> str:
    try:
        installation.get("gateway-1", "/readyz")
    except OSError:
        return ""
    return "200"
