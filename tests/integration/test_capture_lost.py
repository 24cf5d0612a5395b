"""A place that cannot be gone on from: the capture stops, says what is missing, and its commands do what they say."""

import re
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import orjson
import pytest
from capture_support import await_records, bodies, foreign, place, records
from confluent_kafka.admin import AdminClient
from conftest import DEADLINE_S, Installation, until
from pydantic import SecretStr
from pymongo import MongoClient

from headrace.contracts.positions import ChangePosition, Stamp, read_position, write_position
from headrace.embedded import StackError, Supervisor
from headrace.embedded.mongodb import await_primary, mongod_binary, mongod_environment, mongod_options
from headrace.embedded.ports import HOST, reserve_ports
from headrace.embedded.processes import Children
from headrace.installation import capture_config
from headrace.settings import Settings
from headrace.streams.source import write_place

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]


@pytest.fixture
def forgetful(topics: Settings, tmp_path: Path) -> Generator[Settings]:
    """The settings with a MongoDB whose oplog holds 2 MB."""
    children, (port,) = Children(), reserve_ports(1)
    options = [each for each in mongod_options(tmp_path / "data", port) if not each.startswith("--oplogSize")]
    # The oplog is cut behind checkpoints, which are made once a minute by default.
    argv = [str(mongod_binary()), *options, "--oplogSize=2", "--syncdelay=1"]
    (tmp_path / "data").mkdir()
    child = children.spawn("MongoDB", argv, tmp_path / "mongod.log", env=mongod_environment(tmp_path))
    try:
        await_primary(child, port, time.monotonic() + 60)
        uri = SecretStr(f"mongodb://{HOST}:{port}/?replicaSet=headrace")
        yield topics.model_copy(update={"mongodb_uri": uri})
    finally:
        children.stop()


def _dies(settings: Settings, start: Start) -> str:
    """The reason that a capture gives in its log when it ends, be it after a moment in which it was ready."""
    with pytest.raises(StackError) as died:
        _run_to_its_end(settings, start)
    log = Path(re.findall(r"its log is (\S+):", str(died.value))[0])
    return str(orjson.loads(log.read_text().splitlines()[-1])["reason"])


def _run_to_its_end(settings: Settings, start: Start) -> None:
    services = start(settings, ["change_capture"])
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        services.check()
        time.sleep(0.05)  # a process's end: nothing here to await


def _advised(reason: str) -> list[str]:
    """The command line, without the program's name, that the reason gives for going on at a time."""
    return re.findall(r"headrace (capture resume-at \S+?)`", reason)[0].split()


def _forget(settings: Settings) -> None:
    """Writes until MongoDB's oplog no longer has what the committed place stands behind."""
    at = read_position(place(settings) or "").time
    with MongoClient(settings.mongodb) as client:

        def oldest() -> int:
            client["elsewhere"]["filling"].insert_many([{"text": "x" * 10_000} for _ in range(100)])
            (first,) = client["local"]["oplog.rs"].find().sort("$natural", 1).limit(1)
            return int(first["ts"].time)

        until(lambda: oldest() > at.seconds + 1, "an oplog that forgets")


def test_a_place_older_than_the_oplog_stops_the_capture_which_names_the_window(
    forgetful: Settings, start_services: Start
) -> None:
    installation = Installation(forgetful, start_services(forgetful, ["change_capture"]))
    with foreign(forgetful) as database:
        database["shop.orders"].insert_one({"_id": "before"})
    await_records(forgetful, 1)
    refused = installation.headrace("capture", "snapshot")
    assert refused.returncode == 1, refused
    assert "is running" in refused.stderr
    installation.services.stop()
    with foreign(forgetful) as database:
        database["shop.orders"].insert_one({"_id": "missed"})
    at = read_position(place(forgetful) or "").time
    _forget(forgetful)
    reason = _dies(forgetful, start_services)
    assert f"changes of rows between {at.time:%Y-%m-%dT%H:%M:%SZ} and " in reason
    assert "headrace capture snapshot" in reason
    too_old = installation.headrace("capture", "resume-at", f"{at.seconds}.{at.increment}")
    assert too_old.returncode == 1, too_old
    assert "MongoDB cannot go on there" in too_old.stderr
    # The oplog may have gone on forgetting; the command then says so.
    time.sleep(1)  # what is written from now on is of a later second than what the advice names
    done = installation.headrace(*_advised(reason))
    assert done.returncode == 0, done
    start_services(forgetful, ["change_capture"])
    with foreign(forgetful) as database:
        database["shop.orders"].insert_one({"_id": "after"})
    found = bodies(await_records(forgetful, 2))
    assert sorted(found) == ["shop/orders/after", "shop/orders/before"]


def test_a_snapshot_publishes_every_row_and_then_the_changes(topics: Settings, start_services: Start) -> None:
    with foreign(topics) as database:
        database["shop.orders"].insert_many([{"_id": str(number), "n": number} for number in range(1_200)])
        database["shop.orders"].insert_one({"_id": 7, "n": "an id of another type"})
        database["shop.people"].insert_one({"_id": "ann", "_origin": "hidden"})
        database["notes"].insert_one({"_id": "no row"})
    installation = Installation(topics, start_services(topics, ["change_capture"]))
    installation.services.stop()
    assert records(topics) == []  # the first start begins with what is written from then on
    done = installation.headrace("capture", "snapshot", "--json")
    assert done.returncode == 0, done
    with foreign(topics) as database:
        database["shop.orders"].update_one({"_id": "0"}, {"$set": {"n": "changed"}})
    start_services(topics, ["change_capture"])
    found = await_records(topics, 1_203)
    by_key = bodies(found)
    assert len(found) == 1_203
    assert [body["op"] for body in by_key["shop/orders/0"]] == ["r", "u"]
    assert by_key["shop/people/ann"][0]["after"] == {"_id": "ann"}
    assert {body["op"] for key, of_key in by_key.items() for body in of_key if key != "shop/orders/0"} == {"r"}
    assert sum(len(of_key) for of_key in by_key.values()) == 1_203
    assert len(by_key["shop/orders/7"]) == 2  # the number and the text are two rows of one name


def test_a_change_without_images_stops_the_capture_behind_what_came_before(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, ["change_capture"]))
    installation.services.stop()
    with foreign(topics) as database:
        table = database["shop.blind"]
        table.insert_one({"_id": "1", "n": 1})
        table.update_one({"_id": "1"}, {"$set": {"n": 2}})
        table.update_one({"_id": "1"}, {"$set": {"n": 3}})
    for _ in range(2):  # once for each change of which nobody knows what it changed
        reason = _dies(topics, start_services)
        assert "row shop/blind/1 was changed at" in reason
        assert [body["op"] for body in bodies(records(topics))["shop/blind/1"]] == ["c"]
        done = installation.headrace(*_advised(reason))
        assert done.returncode == 0, done
    start_services(topics, ["change_capture"])
    with foreign(topics) as database:
        database["shop.blind"].update_one({"_id": "1"}, {"$set": {"n": 4}})
    found = bodies(await_records(topics, 2))["shop/blind/1"]
    assert [(body["op"], (body["before"] or {}).get("n")) for body in found] == [("c", None), ("u", 3)]


@pytest.mark.parametrize("lost", ["gone", "foreign", "no such change"])
def test_a_committed_place_that_is_lost_is_never_taken_for_a_first_start(
    topics: Settings, start_services: Start, lost: str
) -> None:
    installation = Installation(topics, start_services(topics, ["change_capture"]))
    installation.services.stop()
    config = capture_config(topics)
    if lost == "gone":
        admin = AdminClient({**topics.kafka})  # must live until the answer is there
        admin.delete_consumer_groups([config.group])[config.group].result(DEADLINE_S)
        assert place(topics) is None
    elif lost == "foreign":
        write_place(config, "somebody's own text")
    else:
        at = read_position(place(topics) or "").time
        write_place(config, write_position(ChangePosition(at, Stamp(at.seconds, at.increment), "0" * 32)))
        with foreign(topics) as database:
            database["shop.orders"].insert_one({"_id": "1"})
    reason = _dies(topics, start_services)
    assert "are missing" in reason
    assert "headrace capture resume-at" in reason
    assert records(topics) == []
