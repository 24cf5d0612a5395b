"""`bench gateway`: webhooks accepted a second, and how long one takes, with the senders on the same machine."""

import asyncio
import getpass
import hmac
import time
from collections import deque
from hashlib import sha256
from pathlib import Path
from typing import Annotated, cast

import psutil
import typer
import uvloop
import yaml
from confluent_kafka import Consumer, TopicPartition

from headrace import applying
from headrace.cli.demo import percentile
from headrace.cli.output import Json, print_json, print_table, with_storage
from headrace.cli.stack import Running, running
from headrace.contracts.automation import parse_automation
from headrace.contracts.topics import WEBHOOKS
from headrace.installation import GATEWAY
from headrace.settings import Settings, load_settings

APP, HOOK = "bench", "push"
SECRET = "a secret of the bench"

BODY = b'{"action": "opened", "number": 7, "padding": "' + b"x" * 900 + b'"}'
"""A kilobyte, as a small event of GitHub's."""

CONNECTIONS = 64
"""Of the senders that send as fast as they can: enough that Kafka's confirmations, a few milliseconds each, do not
bound what is measured."""

WARM_UP_S = 3.0


def gateway(
    rate: Annotated[int, typer.Option(help="Webhooks a second of which the time is taken", min=1)] = 200,
    seconds: Annotated[int, typer.Option(help="Of each of both measurements", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Measure signed webhooks a second that are answered 202, and their time at a rate, on a fresh embedded stack."""
    settings = load_settings()
    directory = settings.state_dir / "bench"
    # What it can do, not what it lets through.
    unlimited = {"http_app_rate": 0, "http_webhook_rate": 0}
    update = {"state_dir": directory, "apps_file": apps_file(directory), **unlimited}
    with running(settings.model_copy(update=update), fresh=True, quiet=as_json, names=(GATEWAY,)) as found:
        apply_hook(found.settings)
        port = next(each.http_port for each in found.services.processes if each.http_port is not None)
        senders = Senders(port)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(senders.closed(WARM_UP_S))
            before = _cpu_s(found)
            accepted, took = runner.run(senders.closed(seconds))
            spent = {name: (now - before[name]) / accepted * 1e6 for name, now in _cpu_s(found).items()}
            times = runner.run(senders.paced(rate, seconds))
        lost = senders.accepted - _written(found.settings)
    if lost > 0 or senders.refused:
        raise RuntimeError(f"{lost} lost, {senders.refused} not accepted: these figures mean nothing")
    ms = {name: round(percentile(times, share) * 1e3, 2) for name, share in (("p50", 0.5), ("p99", 0.99))}
    figures = {
        "accepted_per_s": round(accepted / took, 1),
        "us_per_webhook": {name: round(each, 1) for name, each in spent.items()},
        "at_rate": {"rate": rate, "count": len(times), **{f"{name}_ms": each for name, each in ms.items()}},
    }
    if as_json:
        print_json(figures)
        return
    print_table(
        ("", ""),
        [
            ("webhooks accepted a second", f"{accepted / took:,.0f}"),
            (f"ms at {rate} a second", f"p50 {ms['p50']}, p99 {ms['p99']}"),
            *[(f"CPU µs per webhook: {name}", round(each, 1)) for name, each in spent.items()],
        ],
    )


class Senders:
    """Sends on kept connections, and knows what was answered: `status` is what accepts a delivery."""

    def __init__(self, port: int, status: int = 202) -> None:
        self._port = port
        self._status = status
        self._sent = 0
        self._signature = hmac.digest(SECRET.encode(), BODY, sha256).hex()
        self.accepted = 0
        self.refused = 0

    async def closed(self, seconds: float) -> tuple[int, float]:
        """How many were accepted in how many seconds, each connection sending the next as soon as it has its answer."""
        before, began = self.accepted, time.perf_counter()

        async def send() -> None:
            connection = await _Connection.open(self._port)
            while time.perf_counter() - began < seconds:
                await self._one(connection)
            connection.close()

        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
        return self.accepted - before, time.perf_counter() - began

    async def paced(self, rate: int, seconds: float) -> list[float]:
        """Seconds of each from the time it was due, ascending: a sender that is late is not the gateway's merit."""
        idle: deque[_Connection] = deque()
        times: list[float] = []
        began = time.perf_counter()

        async def send(due: float) -> None:
            connection = idle.popleft() if idle else await _Connection.open(self._port)
            await self._one(connection)
            times.append(time.perf_counter() - due)
            idle.append(connection)

        async with asyncio.TaskGroup() as sending:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                sending.create_task(send(due))
        for each in idle:
            each.close()
        return sorted(times)

    async def _one(self, connection: "_Connection") -> None:
        self._sent += 1
        head = (
            f"POST /webhooks/{APP}/{HOOK} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"X-GitHub-Delivery: {self._sent}\r\nX-Hub-Signature-256: sha256={self._signature}\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n"
        )
        if await connection.status(head.encode() + BODY) == self._status:
            self.accepted += 1
        else:
            self.refused += 1


class _Connection(asyncio.Protocol):
    """One request at a time; of an answer its status alone is read. A whole client would cost more than the gateway."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._got = b""

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        """Connects."""
        _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return made

    async def status(self, request: bytes) -> int:
        """The status that the request is answered with."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._answer, self._got = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if end and len(body) >= length and self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the gateway has closed the connection"))


def apps_file(directory: Path) -> Path:
    """The file with the secret that the senders sign with."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "apps.yaml"
    file.write_text(yaml.safe_dump({"apps": {APP: {"secrets": {"KEY": SECRET}}}}))
    return file.absolute()


def apply_hook(settings: Settings, **more: object) -> None:
    """Makes the automation live that the webhook is listened to by, its trigger with `more`."""
    trigger = {"type": "webhook", "id": HOOK, "verify": {"scheme": "github", "secrets": ["KEY"]}, **more}
    steps = [{"id": "answer", "collect": "{{ trigger.body.number }}"}]
    document = parse_automation({"name": "one", "app": APP, "trigger": trigger, "steps": steps})
    with_storage(settings, lambda storage: applying.apply(settings, storage, [document], getpass.getuser()))
    time.sleep(0.5)  # the gateway reads the topic of automations every 50 ms


def _cpu_s(found: Running) -> dict[str, float]:
    mine = psutil.Process().cpu_times()
    usages = [*found.stack.usage(), *found.services.usage()]
    return {**{usage.name: usage.cpu_s for usage in usages}, "senders": mine.user + mine.system}


def _written(settings: Settings) -> int:
    """Records in the topic."""
    consumer = Consumer({**settings.kafka, "group.id": "bench-gateway"})
    topic = WEBHOOKS.full_name(settings.prefix)
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            for number in range(settings.partitions)
        ]
    finally:
        consumer.close()
    return sum(end - first for first, end in ends)
