"""Who waits for a run, and how the wait ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from headrace.contracts.replies import Reply, write_reply
from headrace.engine.errors import PlatformUnavailable
from headrace.streams import Record
from services.gateway import replies as module
from services.gateway.replies import Replies

pytestmark = pytest.mark.unit


def record(run_id: str, value: bytes) -> Record:
    return Record("headrace.replies", 0, 0, 0, run_id.encode(), value, ())


def told(run_id: str, **reply: Any) -> Record:
    return record(run_id, write_reply(Reply(**reply)))


async def nothing(_: str) -> Mapping[str, Any] | None:
    return None


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def started(find: module.Find = nothing) -> Replies:
    found = Replies(find)
    found.start()
    return found


async def test_each_of_those_who_wait_for_a_run_is_told_and_nobody_else() -> None:
    replies = started()
    with replies.expecting("a") as first, replies.expecting("a") as second, replies.expecting("b") as other:
        assert first is not None
        assert second is not None
        replies.apply(record("a", b"no reply"))
        replies.apply(told("c", status="success"))
        await asyncio.to_thread(replies.apply, told("a", status="success", answers=True, value=[1]))
        outcomes = [await replies.outcome(each, "a", 60, never) for each in (first, second)]
        assert [each and each.value for each in outcomes] == [[1], [1]]
        assert other is not None
        assert not other.done()


async def test_who_comes_beyond_the_most_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CALLERS", 2)
    replies = started()
    with replies.expecting("a"), replies.expecting("b") as second:
        assert second is not None
        with replies.expecting("c") as third:
            assert third is None
    with replies.expecting("c") as later:
        assert later is not None


async def test_as_the_process_ends_who_waits_and_who_comes_is_let_go() -> None:
    replies = started()
    with replies.expecting("a") as waiting:
        assert waiting is not None
        replies.drain()
        assert waiting.done()
        assert await replies.outcome(waiting, "a", 60, never) is None
        with replies.expecting("b") as late:
            assert late is None


async def test_the_records_tell_of_a_run_that_ended_before_and_their_absence_ends_no_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_LOOK_S", 0.001)
    answers: list[Any] = [PlatformUnavailable("away"), None, {"status": "running"}, {"status": "error"}]

    async def find(_: str) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    replies = started(find)
    with replies.expecting("a") as waiting:
        assert waiting is not None
        found = await replies.outcome(waiting, "a", 60, never)
    assert (found, answers) == (Reply(status="error"), [])


async def test_the_records_are_asked_a_last_time_as_the_wait_ends() -> None:
    looks: list[str] = []

    async def find(run_id: str) -> None:
        looks.append(run_id)

    replies = started(find)
    with replies.expecting("a") as waiting:
        assert waiting is not None
        assert await replies.outcome(waiting, "a", 0.01, never) is None
    assert looks == ["a"]


async def test_of_a_value_that_records_cut_its_size_is_known_alone() -> None:
    async def find(_: str) -> Mapping[str, Any]:
        return {"status": "success", "collected": {"_cut": True, "bytes": 70_000, "start": "x"}}

    replies = started(find)
    with replies.expecting("a") as waiting:
        assert waiting is not None
        found = await replies.outcome(waiting, "a", 0.01, never)
    assert found == Reply(status="success", answers=True, oversize=70_000)


async def test_a_caller_that_is_gone_waits_no_longer() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    replies = started()
    with replies.expecting("a") as waiting:
        assert waiting is not None
        with pytest.raises(ClientDisconnect):
            await replies.outcome(waiting, "a", 60, gone)
