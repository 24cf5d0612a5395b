"""Dead letters in MongoDB: each once, found by what is asked, marked together with the audit."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from headrace.contracts.cloudevents import Location
from headrace.contracts.deadletters import About, DeadRun, Reason, Refused, dead_letter, read_dead_letter
from headrace.settings import Settings
from headrace.storage import Action, ArrivedLetter, Letter, LetterFilter, Storage

pytestmark = pytest.mark.integration

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
ANY = LetterFilter(state=None)


def arrived(
    number: int,
    *,
    app: str = "shop",
    automation: str = "a",
    error: str = "t",
    key: str = "k",
    at: datetime = AT,
    run: bool = True,
) -> ArrivedLetter:
    about = About(
        run=DeadRun(
            run_id=f"r{number}", app=app, automation=automation, generation=1, segment=0, key=key, priority="low"
        )
    )
    refused = Refused(Location("jobs", 0, number), key.encode(), b"\xff\0", [("h", b"\xff")], 7)
    value = dead_letter("svc", refused, Reason(type=error, message="why"), at, about if run else About(app))
    return ArrivedLetter(Location("dlq", 1, number), value, read_dead_letter(value))


async def keep(storage: Storage, *letters: ArrivedLetter) -> None:
    await storage.dead_letters.record(letters, AT)


def numbers(letters: Sequence[Letter]) -> list[int]:
    return [int(each.id.rpartition("/")[2]) for each in letters]


async def act(storage: Storage, id: str) -> Action:
    action = Action(id, "redrive", "ann", AT, {"app": "shop"}, {"mode": "resume"})
    await storage.audit.begin(action)
    return action


async def test_a_letter_is_found_with_all_that_it_said(storage: Storage) -> None:
    letter = arrived(5)
    await keep(storage, letter)
    (found,) = await storage.dead_letters.find(ANY, 9)
    assert (found.id, found.at, found.source, found.state) == ("dlq/1/5", AT, "jobs/0/5", "open")
    assert (found.app, found.automation, found.key, found.run_id, found.generation) == ("shop", "a", "k", "r5", 1)
    assert (found.service, found.error, found.message, found.bytes) == ("svc", "t", "why", len(letter.value))
    assert await storage.dead_letters.read([found.id, "dlq/1/6"]) == {found.id: letter.letter}


async def test_a_letter_that_comes_again_is_one_and_stays_what_it_became(storage: Storage) -> None:
    await keep(storage, arrived(1))
    await act(storage, "x")
    await storage.dead_letters.mark(["dlq/1/1"], "open", "redriven", "x", AT)
    await keep(storage, arrived(1), arrived(2))
    second, first = await storage.dead_letters.find(ANY, 9)
    assert (first.state, first.action, first.acted_at) == ("redriven", "x", AT)
    assert second.state == "open"


async def test_letters_are_found_by_every_filter_and_all_of_them_together(storage: Storage) -> None:
    later = AT + timedelta(seconds=1)
    await keep(
        storage,
        arrived(1),
        arrived(2, app="airport"),
        arrived(3, automation="b"),
        arrived(4, error="u"),
        arrived(5, key="other"),
        arrived(6, at=later),
        arrived(7, run=False),
    )

    async def found(**asked: Any) -> list[int]:
        return sorted(numbers(await storage.dead_letters.find(LetterFilter(**asked), 99)))

    assert await found() == [1, 2, 3, 4, 5, 6, 7]
    assert await found(app="airport") == [2]
    assert await found(automation="b") == [3]
    assert await found(error="u") == [4]
    assert await found(key="other") == [5]
    assert await found(since=later) == [6]
    assert await found(until=later) == [1, 2, 3, 4, 5, 7]
    assert await found(ids=("dlq/1/2", "dlq/1/9")) == [2]
    assert await found(state="redriven") == []
    assert await found(app="shop", automation="a", error="t", key="k", until=later) == [1]
    assert await storage.dead_letters.count(LetterFilter(app="shop")) == 6


async def test_newest_first_is_listed_and_oldest_first_is_walked_each_letter_once(storage: Storage) -> None:
    # Several of one moment: a walk may neither lose nor repeat any of them.
    await keep(storage, *[arrived(number, at=AT + timedelta(seconds=number // 4)) for number in range(11)])
    assert numbers(await storage.dead_letters.find(ANY, 3))[0] in (8, 9, 10)
    walked: list[Letter] = []
    while batch := await storage.dead_letters.walk(LetterFilter(), walked[-1] if walked else None, 3):
        await act(storage, batch[0].id)
        # Marked on the way, they are no longer what is asked for.
        await storage.dead_letters.mark([each.id for each in batch], "open", "redriven", batch[0].id, AT)
        walked += batch
    assert sorted(numbers(walked)) == [*range(11)]
    assert [each.at for each in walked] == sorted(each.at for each in walked)


async def test_only_letters_in_the_state_that_was_asked_for_are_marked_and_the_audit_counts_these(
    storage: Storage,
) -> None:
    await keep(storage, *[arrived(number) for number in range(3)])
    ids = [f"dlq/1/{number}" for number in range(4)]
    await act(storage, "first")
    await act(storage, "second")
    assert await storage.dead_letters.mark(ids[:2], "open", "discarded", "first", AT) == 2
    assert await storage.dead_letters.mark(ids, "open", "redriven", "second", AT) == 1
    assert await storage.dead_letters.mark([], "open", "redriven", "second", AT) == 0
    states = {each.id: each.state for each in await storage.dead_letters.find(ANY, 9)}
    assert states == {ids[0]: "discarded", ids[1]: "discarded", ids[2]: "redriven"}
    counts = {each.id: (each.count, each.counted_at) for each in await storage.audit.find(9)}
    assert counts == {"first": (2, AT), "second": (1, AT)}


async def test_an_action_is_written_down_before_it_begins_and_ends_as_it_did(storage: Storage) -> None:
    action = await act(storage, "x")
    assert await storage.audit.get("x") == action
    await storage.audit.end("x", "interrupted", AT, 2)
    assert await storage.audit.get("x") == replace(action, ended="interrupted", ended_at=AT, count=2)
    assert await storage.audit.get("y") is None


async def test_letters_go_when_their_topic_would_forget_them_and_the_audit_stays(
    storage: Storage, settings: Settings
) -> None:
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        database = client[settings.prefix]
        expiring = {
            name: [
                index["expireAfterSeconds"]
                for index in database[name].list_indexes()
                if "expireAfterSeconds" in index and [*index["key"]] == ["at"]
            ]
            for name in ("dead_letters", "audit")
        }
    assert expiring == {"dead_letters": [30 * 86_400], "audit": []}
