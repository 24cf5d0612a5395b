"""The harness's own instruments: the proxy between a client and a server, and the server that remembers calls."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Generator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import Producer

from headrace.chaos.loads.base import Answer
from headrace.chaos.proxy import Proxy
from headrace.chaos.reading import read_timers
from headrace.chaos.server import Recorder
from headrace.contracts.topics import TIMERS
from headrace.embedded.ports import HOST
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    """A proxy in front of a server that says everything twice."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data + data)

    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy()
    proxy.to(int(server.sockets[0].getsockname()[1]))
    yield proxy
    proxy.close()
    server.close()


async def ask(connection: Connection, data: bytes) -> bytes:
    connection[1].write(data)
    return await connection[0].readexactly(2 * len(data))


async def test_what_is_said_goes_both_ways(proxy: Proxy) -> None:
    assert await ask(await asyncio.open_connection(HOST, proxy.port), b"hello") == b"hellohello"


async def test_a_cut_resets_connections_refuses_new_ones_and_heals(proxy: Proxy) -> None:
    connection = await asyncio.open_connection(HOST, proxy.port)
    assert await ask(connection, b"a") == b"aa"
    await asyncio.to_thread(proxy.be, "cut")
    with pytest.raises(ConnectionResetError):
        await connection[0].read(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, proxy.port)
    await asyncio.to_thread(proxy.be, "open")
    assert await ask(await asyncio.open_connection(HOST, proxy.port), b"b") == b"bb"


async def test_half_open_swallows_everything_and_healing_ends_what_has_a_hole(proxy: Proxy) -> None:
    idle, used = [await asyncio.open_connection(HOST, proxy.port) for _ in range(2)]
    assert await ask(idle, b"a") == await ask(used, b"a") == b"aa"
    await asyncio.to_thread(proxy.be, "half-open")
    new = await asyncio.open_connection(HOST, proxy.port)  # taken, and deaf
    for connection in (used, new):
        connection[1].write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection[0].read(1), 0.2)
    await asyncio.to_thread(proxy.be, "open")
    for connection in (used, new):
        with pytest.raises(ConnectionResetError):
            await connection[0].read(1)
    assert await ask(idle, b"b") == b"bb"


async def test_delay_keeps_the_order(proxy: Proxy) -> None:
    await asyncio.to_thread(proxy.be, "delay", 0.05)
    connection = await asyncio.open_connection(HOST, proxy.port)
    for part in (b"1", b"2", b"3"):
        connection[1].write(part)
        await asyncio.sleep(0)
    assert sorted(await connection[0].readexactly(6)) == sorted(b"112233")


async def test_a_server_that_is_away_resets_its_clients(proxy: Proxy) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        proxy.to(int(unused.getsockname()[1]))
        # The reset may come before the client has seen that it is connected.
        with pytest.raises(ConnectionResetError):
            await _greet(proxy.port)


async def _greet(port: int) -> None:
    reader, _ = await asyncio.open_connection(HOST, port)
    await reader.read(1)


@pytest.fixture
def recorder() -> Generator[Recorder]:
    """A server that fails the first call of every key of one path."""
    answers = {"/fails": Answer(first_fails=1.0), "/late": Answer(0.05, 0.1)}
    recorder = Recorder({**answers, "/thrice": Answer(fails=(3, 3)), "/away": Answer(until_mended=True)})
    recorder.start()
    yield recorder
    recorder.close()


def post(recorder: Recorder, path: str, key: str, body: object) -> int:
    request = Request(f"{recorder.address}{path}", json.dumps(body).encode(), {"Idempotency-Key": key})
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_a_timer_is_pending_whatever_another_partition_says_of_its_run(topics: Settings) -> None:
    topic = TIMERS.full_name(topics.prefix)
    producer = Producer({**topics.kafka})
    for partition, value in ((0, b'{"due": "at noon"}'), (1, b'{"due": "held"}'), (1, None)):
        producer.produce(topic, value, b"run", partition)
    producer.flush()
    assert [(timer.id, timer.due, timer.place.partition) for timer in read_timers(topics)] == [("run", "at noon", 0)]


def test_every_call_is_remembered_with_its_key_run_and_times(recorder: Recorder) -> None:
    assert post(recorder, "/late", "k", {"run": "r", "event": "e"}) == 200
    assert post(recorder, "/other", "", "no object") == 200
    late, other = recorder.calls()
    assert (late.method, late.path, late.key, late.run, late.event, late.status) == (
        "POST",
        "/late",
        "k",
        "r",
        "e",
        200,
    )
    assert late.answered is not None
    assert late.answered >= late.arrived
    assert (other.path, other.key, other.run, other.event) == ("/other", "", "", "")
    assert recorder.count() == 2


def test_so_many_calls_of_a_key_fail_as_a_load_asks_for_or_until_it_is_mended(recorder: Recorder) -> None:
    body = {"run": "r", "event": "e"}
    assert [post(recorder, "/thrice", "k", body) for _ in range(5)] == [503, 503, 503, 200, 200]
    assert [post(recorder, "/away", "k", body) for _ in range(2)] == [503, 503]
    recorder.mend("e")
    assert post(recorder, "/away", "k", body) == 200
    assert post(recorder, "/away", "l", {"run": "s", "event": "another"}) == 503


def test_the_first_call_of_a_key_fails_where_a_load_asks_for_it(recorder: Recorder) -> None:
    body = {"run": "r", "event": "e"}
    statuses = [post(recorder, "/fails", key, body) for key in ("k", "k", "l", "l")]
    assert statuses == [503, 200, 503, 200]
    assert [call.status for call in recorder.calls()] == statuses
