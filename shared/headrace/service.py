"""What every service process does: settings, log, signals, the ops endpoints, one event loop, one stream."""

import asyncio
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
import structlog
import uvloop
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from headrace.contracts.cloudevents import Location
from headrace.contracts.cloudevents import app_of as app_of_headers
from headrace.contracts.deadletters import About, Reason, Refused, about_carrier, about_outcome, cut_key, dead_letter
from headrace.contracts.jobs import Job
from headrace.contracts.topics import DEAD_LETTERS
from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import SystemClock
from headrace.installation import carriers, topic_specs
from headrace.settings import Settings, SettingsError, load_settings
from headrace.storage import Storage
from headrace.streams import Outgoing, Record, StreamFailed, Unavailable
from headrace.streams.admin import check_topics
from headrace.streams.config import GroupMemory
from headrace.streams.records import Partition

STALLED_AFTER_S = 120.0
"""Without progress for this long a process counts as dead: four times the longest step's time-out."""

START_PATIENCE_S = 30.0
"""How long a starting service waits for Kafka and MongoDB: a broker's restart takes seconds, and whoever gave a wrong
address reads so in half a minute."""

YOUNG_OBJECTS = 50_000
"""Allocations between two collections. By default (700) a batch of a thousand records, none of which has cycles, is
looked through dozens of times: a quarter of the matcher's time."""

EXIT_FAILED = 1
EXIT_SETTINGS = 2

_T = TypeVar("_T")
_UP = Gauge("headrace_ready", "Whether the service is ready", ["service"])


class Service(Protocol):
    """A service that is wired and can run."""

    @property
    def ready(self) -> bool:
        """Whether it takes part in its group."""
        ...

    def stalled_s(self) -> float:
        """Seconds since it last made progress."""
        ...

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed."""
        ...

    def stop(self) -> None:
        """Asks `run` to drain and return."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A service that answers questions beside its metrics."""

    def answer(self, path: str, query: Mapping[str, str]) -> object | None:
        """What a GET of `path` answers, as JSON; None where there is nothing. Raises WrongQuery. Called in a thread of
        its own."""
        ...


class WrongQuery(ValueError):
    """What was asked is not understood; the message says what would be."""


class Loop:
    """The process's one event loop. It runs in the main thread, whenever a batch needs it or all of the time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def run(self, work: Coroutine[object, object, _T]) -> _T:
        """The coroutine's result; from any thread but the loop's own while it runs. PlatformUnavailable becomes the
        runtime's Unavailable."""
        loop = self._runner.get_loop()
        try:
            if loop.is_running():
                return asyncio.run_coroutine_threadsafe(work, loop).result()
            return self._runner.run(work)
        except PlatformUnavailable as away:
            raise Unavailable(str(away)) from away

    def call_soon(self, work: Callable[[], object]) -> None:
        """Calls `work` in the loop's thread, soon; from any thread."""
        self._runner.get_loop().call_soon_threadsafe(work)

    def close(self) -> None:
        """Ends the loop."""
        self._runner.close()


class StoredGroupMemory:
    """The runtime's memory of a group, kept in MongoDB."""

    def __init__(self, loop: Loop, storage: Storage, group: str) -> None:
        self._loop = loop
        self._groups = storage.groups
        self._group = group

    def known(self) -> frozenset[Partition]:
        """All partitions that the group has committed; raises Unavailable."""
        return self._loop.run(self._groups.known(self._group))

    def remember(self, partitions: frozenset[Partition]) -> None:
        """Adds partitions, durably; raises Unavailable."""
        self._loop.run(self._groups.remember(self._group, partitions))


class StoredSuspectMemory:
    """The runtime's memory of suspects, kept in MongoDB."""

    def __init__(self, storage: Storage) -> None:
        self._suspects = storage.suspects

    async def found(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Those of `ids` that are marked, each with its count; raises Unavailable."""
        with _unavailable():
            return await self._suspects.found(ids)

    async def mark(self, ids: Sequence[str]) -> None:
        """Marks `ids`; raises Unavailable."""
        with _unavailable():
            await self._suspects.mark(ids)

    async def count(self, id: str) -> int:
        """Adds 1 to the count of a marked id and answers it; raises Unavailable."""
        with _unavailable():
            return await self._suspects.count(id)

    async def take_back(self, id: str) -> None:
        """Takes 1 from the count of a marked id; raises Unavailable."""
        with _unavailable():
            await self._suspects.take_back(id)

    async def clear(self, ids: Sequence[str]) -> None:
        """Takes the marks away; raises Unavailable."""
        with _unavailable():
            await self._suspects.clear(ids)


@contextmanager
def _unavailable() -> Generator[None]:
    try:
        yield
    except PlatformUnavailable as away:
        raise Unavailable(str(away)) from away


class DeadLetterWriter:
    """Makes dead letters of records that a service could not process.

    `app_of` names the app of a record that is no event of ours; by default an event's headers do.
    """

    def __init__(self, service: str, settings: Settings, app_of: Callable[[Record], str] | None = None) -> None:
        self._app_of = app_of or _app_of_event
        self._service = service
        self._topic = DEAD_LETTERS.full_name(settings.prefix)
        self._carriers = frozenset(topic.full_name(settings.prefix) for topic in carriers(settings))
        self._clock = SystemClock()

    def __call__(self, record: Record, type: str, message: str) -> Outgoing:
        """The dead letter that points at `record`, keyed as the record; a key may be longer than a letter can carry.

        If the record carries a run, the letter says of which.
        """
        is_carrier = record.topic in self._carriers
        about = about_carrier(record.value, record.headers) if is_carrier else About(self._app_of(record))
        return self._letter(record, type, message, about)

    def of_automation(self, record: Record, type: str, message: str, app: str, automation: str) -> Outgoing:
        """The same, of an event that concerns this automation alone."""
        return self._letter(record, type, message, About(app, automation))

    def of_outcome(self, record: Record, type: str, message: str, job: Job) -> Outgoing:
        """The same, of a run that has an outcome, which goes out with the letter, and waits for what becomes of it."""
        return self._letter(record, type, message, about_outcome(job, record.value, record.headers))

    def _letter(self, record: Record, type: str, message: str, about: About) -> Outgoing:
        location = Location(record.topic, record.partition, record.offset)
        refused = Refused(location, record.key, record.value, record.headers, record.timestamp_ms)
        letter = dead_letter(self._service, refused, Reason(type=type, message=message), self._clock.now(), about)
        return Outgoing(self._topic, cut_key(record.key), letter)


def _app_of_event(record: Record) -> str:
    return app_of_headers(record.headers)


Build = Callable[[Settings, Loop, Storage, GroupMemory], Service]


def main(name: str, build: Build) -> None:
    """Runs a service until SIGTERM or SIGINT; ends the process with code 0, or 1 or 2 and a sentence in the log."""
    try:
        settings = load_settings()
        _configure_log(settings, name)
        log = structlog.get_logger()
        _once_there(lambda: check_topics(settings.kafka, topic_specs(settings)))
        _spare_the_collector()
        loop = Loop()
        storage = loop.run(_open(settings))
        memory = StoredGroupMemory(loop, storage, f"{settings.prefix}-{name}")
        service = _once_there(lambda: build(settings, loop, storage, memory))
        port = serve_ops(settings, name, service)
    except SettingsError as error:
        sys.exit(_fail(error, EXIT_SETTINGS))
    except (StreamFailed, Unavailable, KafkaException) as error:
        sys.exit(_fail(error, EXIT_FAILED))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: service.stop())
    log.info("started", ops_port=port, slot=settings.slot)
    try:
        service.run()
    except (StreamFailed, KafkaException) as error:
        sys.exit(_fail(error, EXIT_FAILED))
    finally:
        storage.close()
        loop.close()
    log.info("stopped")


def _once_there(call: Callable[[], _T]) -> _T:
    """What `call` answers, once Kafka and MongoDB do: a service may start while they come back.

    Raises what it raises at last, after START_PATIENCE_S, and at once what no waiting mends.
    """
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            return call()
        except (Unavailable, KafkaException) as error:
            passing = isinstance(error, Unavailable) or error.args[0].code() in _PASSING
            if not passing or time.monotonic() > deadline:
                raise
            structlog.get_logger().warning("not there yet", reason=_reason(error))
            time.sleep(_LOOK_AGAIN_S)


_PASSING = frozenset(
    (
        KafkaError._TRANSPORT,  # pyright: ignore[reportPrivateUsage]
        KafkaError._ALL_BROKERS_DOWN,  # pyright: ignore[reportPrivateUsage]
        KafkaError._TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
    )
)
"""Errors of a broker that is away."""

_LOOK_AGAIN_S = 1.0
"""The client has waited for its own time-outs already."""


def serve_ops(settings: Settings, name: str, service: Service) -> int:
    """Serves /healthz, /readyz, /metrics and the service's answers in a thread; answers the port. Raises SettingsError
    if it is in use."""

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            _UP.labels(name).set(service.ready)
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest()]
        if isinstance(service, Answering) and (answer := _answer(service, environ)) is not None:
            status, body = answer
            start(status, [("Content-Type", "application/json")])
            return [body]
        checks: Mapping[str | None, bool] = {
            "/healthz": service.stalled_s() < STALLED_AFTER_S,
            "/readyz": service.ready,
        }
        ok = checks.get(path)
        status = "404 Not Found" if ok is None else "200 OK" if ok else "503 Service Unavailable"
        start(status, [("Content-Type", "text/plain")])
        return [status.encode()]

    try:
        server = make_server(settings.ops_host, settings.ops_port, app, WSGIServer, _Quiet)
    except OSError as error:
        address = f"{settings.ops_host}:{settings.ops_port}"
        raise SettingsError(
            f"HEADRACE_OPS_PORT: {address} cannot be served ({error.strerror}); another port, or 0 for a free one, can"
        ) from None
    threading.Thread(target=server.serve_forever, name="ops", daemon=True).start()
    return server.server_port


def _answer(service: Answering, environ: WSGIEnvironment) -> tuple[str, bytes] | None:
    query = dict(parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True))
    try:
        found = service.answer(str(environ.get("PATH_INFO")), query)
    except WrongQuery as error:
        return "400 Bad Request", orjson.dumps({"error": str(error)})
    return None if found is None else ("200 OK", orjson.dumps(found, option=orjson.OPT_UTC_Z))


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A probe every second is no news."""


def _spare_the_collector() -> None:
    """What is loaded by now stays for good: it is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


async def _open(settings: Settings) -> Storage:
    return Storage(settings)


def _fail(error: Exception, code: int) -> int:
    structlog.get_logger().error("cannot run", reason=_reason(error))
    return code


def _reason(error: Exception) -> str:
    # What Kafka's client raises holds its error; as text it would be a Python object.
    return str(error.args[0].str()) if isinstance(error, KafkaException) else str(error)


def _configure_log(settings: Settings, name: str) -> None:
    level = getattr(logging, settings.log_level.upper())
    logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # The traceback's lines only: values of local variables may be an author's secrets.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=name)
