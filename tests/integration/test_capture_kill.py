"""Captures killed under load: every change of a row is one event, in the row's order, whoever reads it."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from capture_support import await_records, event_of, foreign, place, records
from conftest import Installation, until
from pydantic import SecretStr

from headrace.embedded import Supervisor
from headrace.embedded.mongodb import EmbeddedMongoDB
from headrace.embedded.processes import Children
from headrace.settings import Settings

pytestmark = pytest.mark.integration

KILLS = 8
ROWS = 40

Start = Callable[[Settings, Sequence[str]], Supervisor]


class Writer:
    """Another program that writes rows until it is stopped, and remembers what it wrote."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._random = random.Random(seed)
        self.written: dict[str, list[tuple[str, int]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> int:
        """Ends it; answers how many changes it made."""
        self._stop.set()
        self._thread.join()
        return sum(map(len, self.written.values()))

    def _run(self) -> None:
        with foreign(self._settings) as database:
            database.create_collection("load.rows", changeStreamPreAndPostImages={"enabled": True})
            number = 0
            while not self._stop.is_set():
                with database.client.start_session() as session:
                    # Transactions of one change and of many: their events come in one piece, and may be cut anywhere.
                    size = self._random.choice((0, 0, 1, 5, 60))
                    if size:
                        with session.start_transaction():
                            for _ in range(size):
                                number += 1
                                self._write(database["load.rows"], number, session)
                    else:
                        number += 1
                        self._write(database["load.rows"], number, None)

    def _write(self, table: Any, number: int, session: Any) -> None:
        row_id = str(self._random.randrange(ROWS))
        log = self.written.setdefault(row_id, [])
        if not log or log[-1][0] == "d":
            table.insert_one({"_id": row_id, "n": number}, session=session)
            log.append(("c", number))
        elif self._random.random() < 0.2:
            table.delete_one({"_id": row_id}, session=session)
            log.append(("d", log[-1][1]))
        else:
            table.update_one({"_id": row_id}, {"$set": {"n": number}}, session=session)
            log.append(("u", number))


def _owner(installation: Installation) -> str:
    """The process that reads the changes, once there is one."""
    names = {process.name for process in installation.services.processes}
    found: list[str] = []

    def owns() -> bool:
        found[:] = [name for name in names if "headrace_capture_owner 1.0" in _metrics(installation, name)]
        return len(found) == 1

    until(owns, "an owner")
    return found[0]


def _metrics(installation: Installation, name: str) -> str:
    try:
        return installation.get(name, "/metrics")
    except OSError:
        return ""


def _await_more(settings: Settings, than: int) -> None:
    until(lambda: len(records(settings)) > than, "further events")


def _assert_once_and_in_order(settings: Settings, written: dict[str, list[tuple[str, int]]], total: int) -> None:
    found = [event_of(record) for record in await_records(settings, total)]
    assert len({event.id for event, _ in found}) == len(found) == total
    by_row: dict[str, list[tuple[str, int]]] = {}
    for event, change in found:
        image = change.after or change.before or {}
        by_row.setdefault(event.subject.removeprefix("rows/"), []).append((change.op, int(str(image["n"]))))
    assert by_row == written


@pytest.fixture
def pair(topics: Settings, start_services: Start) -> Installation:
    """Two captures, one of which stands by."""
    services = start_services(topics, ["change_capture"])
    services.start_service("change_capture", 1)
    services.wait_ready()
    return Installation(topics, services)


def test_captures_killed_under_load_lose_and_repeat_nothing(pair: Installation) -> None:
    """The owner is killed each time, the other takes over, and the killed one is started again."""
    settings, writer, chance = pair.settings, Writer(pair.settings, seed=7), random.Random(11)
    writer.start()
    try:
        seen = 0
        for _ in range(KILLS):
            _await_more(settings, seen)
            owner = _owner(pair)
            time.sleep(chance.uniform(0.0, 0.3))  # anywhere within its transactions
            os.kill(pair.process(owner).pid, signal.SIGKILL)
            seen = len(records(settings))
            pair.services.start_service("change_capture", int(owner[-1]))
    finally:
        total = writer.stop()
    _assert_once_and_in_order(settings, writer.written, total)


def test_a_capture_that_was_stopped_and_wakes_up_as_another_reads_repeats_nothing(pair: Installation) -> None:
    settings, writer, chance = pair.settings, Writer(pair.settings, seed=8), random.Random(12)
    writer.start()
    try:
        for _ in range(3):
            _await_more(settings, len(records(settings)))
            owner = pair.process(_owner(pair)).pid
            time.sleep(chance.uniform(0.0, 0.3))
            os.kill(owner, signal.SIGSTOP)
            try:
                # Once for what it had committed, and once for the other's.
                _await_more(settings, len(records(settings)))
                _await_more(settings, len(records(settings)))
            finally:
                os.kill(owner, signal.SIGCONT)
    finally:
        total = writer.stop()
    _assert_once_and_in_order(settings, writer.written, total)


def test_a_quiet_place_moves_on(topics: Settings, start_services: Start) -> None:
    start_services(topics, ["change_capture"])
    begun = place(topics)
    assert begun is not None
    with foreign(topics) as database:
        # No table: nothing is published, but MongoDB's oplog moves on.
        database["notes"].insert_one({"_id": "1"})
    until(lambda: place(topics) != begun, "a newer place")
    assert records(topics) == []


def test_a_capture_waits_for_a_mongodb_that_is_away(topics: Settings, start_services: Start, tmp_path: Path) -> None:
    children = Children()
    mongodb = EmbeddedMongoDB(tmp_path / "mongodb", children, lambda _: None)
    try:
        mongodb.start()
        settings = topics.model_copy(update={"mongodb_uri": SecretStr(mongodb.wait())})
        services = start_services(settings, ["change_capture"])
        with foreign(settings) as database:
            database["shop.orders"].insert_one({"_id": "1"})
        await_records(settings, 1)
        mongodb.kill()
        until(lambda: "platform part away" in services.processes[0].log.read_text(), "an outage that is noticed")
        mongodb.restart()
        with foreign(settings) as database:
            database["shop.orders"].insert_one({"_id": "2"})
        assert [event_of(record)[0].subject for record in await_records(settings, 2)] == ["orders/1", "orders/2"]
        services.check()
    finally:
        children.stop()
