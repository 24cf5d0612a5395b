"""Wires uvicorn to the routes, and both to Kafka and MongoDB."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import structlog
import uvicorn

from headrace.contracts.topics import REPLIES
from headrace.following import Following
from headrace.installation import GATEWAY
from headrace.service import Loop
from headrace.settings import Settings, SettingsError
from headrace.storage import Storage
from headrace.stored_apps import Refreshing, StoredApps
from headrace.streams import Unavailable
from headrace.streams.config import GroupMemory
from services.gateway.app import make_app
from services.gateway.context import Context
from services.gateway.identity import Callers
from services.gateway.known_keys import KnownKeys
from services.gateway.listeners import Listeners
from services.gateway.producing import CONFIRMED_WITHIN_S, Confirming
from services.gateway.protocol import BoundedProtocol
from services.gateway.rates import Rates
from services.gateway.replies import Replies
from services.gateway.tls import tls_context
from services.gateway.tokens import load_tokens

MOST_CONNECTIONS = 10_000
"""Open at a time; each costs some 20 KB. What comes beyond is answered 503."""

BACKLOG = 2_048
"""Connections that wait to be accepted: a burst, not a queue."""

IDLE_S = 60.0
"""Of a kept connection: as long as load balancers keep theirs, so that none sends into one that we close."""

DRAIN_S = CONFIRMED_WITHIN_S + 5.0
"""What is under way as the process is asked to stop: a confirmation at the longest, and its answer."""

BEAT_S = 1.0


class _Server(uvicorn.Server):
    """uvicorn, with signals left to the process. `draining` is called before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, draining: Callable[[], None]) -> None:
        super().__init__(config)
        self._draining = draining

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more connections, and answers what is under way."""
        self._draining()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Takes none."""
        yield


class Gateway:
    """Serves until it is stopped."""

    def __init__(self, context: Context, loop: Loop, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._context = context
        self._loop = loop
        self._socket = listening
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(
            uvicorn.Config(
                make_app(context),
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                backlog=BACKLOG,
                timeout_keep_alive=int(IDLE_S),
                timeout_graceful_shutdown=int(DRAIN_S),
            ),
            context.replies.drain,
        )
        self._beat = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._server.started and not self._server.should_exit

    def stalled_s(self) -> float:
        """Seconds since its event loop, or the thread of its producer, last had a turn."""
        return max(time.monotonic() - self._beat, self._context.producer.stalled_s())

    def run(self) -> None:
        """Runs until `stop`."""
        self._loop.run(self._main())

    def stop(self) -> None:
        """Asks `run` to answer what is under way and return. Callable from a signal handler."""
        self._server.should_exit = True

    async def _main(self) -> None:
        self._context.producer.start()
        self._context.replies.start()
        beating = asyncio.create_task(self._keep_beating())
        try:
            host, port = self._socket.getsockname()[:2]
            structlog.get_logger().info("listening", url=f"{self._scheme}://{host}:{port}")
            await self._server.serve(sockets=[self._socket])
        finally:
            beating.cancel()
            await self._context.keys.close()
            await self._context.producer.close()

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_S)


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Refreshing:
    """The service, ready to run. It needs MongoDB for what MongoDB holds only: webhooks and events pass without it."""
    # What a client does wrong is answered, and counted; uvicorn's lines about it have neither id nor shape.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    listeners, replies, apps = Listeners(), Replies(storage.runs.get), StoredApps(settings)
    try:
        loop.run(apps.load(storage))
    except Unavailable as away:
        # Until it is back a webhook that is verified with a stored secret is 503; those of the file are verified.
        structlog.get_logger().warning("stored secrets are not known yet", reason=str(away))
    context = Context(
        settings=settings,
        storage=storage,
        apps=apps,
        producer=Confirming(settings.kafka),
        keys=Callers(KnownKeys(storage.keys), load_tokens(settings), Rates(_rates(settings))),
        listeners=listeners,
        replies=replies,
    )
    gateway = Gateway(context, loop, _listen(settings), tls_context(settings))
    # From the end on: who waited for what is there already waited at a process that is gone.
    told = Following(GATEWAY, settings, gateway, replies.apply, REPLIES, from_end=True)
    return Refreshing(Following(GATEWAY, settings, told, listeners.apply), settings, apps)


def _rates(settings: Settings) -> dict[str, int]:
    each = settings.http_key_rate
    return {"key": each, "oidc": each, "app": settings.http_app_rate, "webhook": settings.http_webhook_rate}


def _listen(settings: Settings) -> socket.socket:
    """Bound, so that a port that is taken is told before anything starts; raises SettingsError."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.http_host, settings.http_port))
    except OSError as error:
        listening.close()
        address = f"{settings.http_host}:{settings.http_port}"
        raise SettingsError(
            f"HEADRACE_HTTP_PORT: {address} cannot be served ({error.strerror}); another port, or 0 for a free one, can"
        ) from None
    return listening
