"""A TCP proxy that can be cut, slowed down, or left half open: the network between a process and a server."""

import asyncio
import contextlib
import socket
import struct
from asyncio.trsock import TransportSocket
from typing import Literal

from headrace.chaos.threads import LoopThread
from headrace.embedded.ports import HOST

Mode = Literal["open", "cut", "delay", "half-open"]
"""`cut`: connections are reset and new ones refused. `half-open`: connections stay, new ones are taken, and bytes of
either direction are swallowed. `delay`: every piece of data waits."""

_CHUNK = 1 << 16

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset instead of a farewell."""


class Proxy:
    """Listens on `port` at once and forwards to a server's port once `to` has named it; `close` ends it."""

    def __init__(self) -> None:
        self._loop = LoopThread("chaos-proxy")
        self._mode: Mode = "open"
        self._latency_s = 0.0
        self._upstream = 0
        self._others: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._deaf: set[asyncio.StreamWriter] = set()
        self.port = 0
        """Where it listens."""
        self._server: asyncio.Server = self._loop.run(self._listen(0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def to(self, port: int) -> None:
        """Names the server's port on this machine."""
        self._upstream = port

    def be(self, mode: Mode, latency_s: float = 0.0) -> None:
        """From now on, for connections that exist and for new ones. `open` heals.

        Bytes that a half-open connection has swallowed are gone: healing resets such connections, as a network does
        that has forgotten them.
        """
        self._loop.run(self._be(mode, latency_s))

    def close(self) -> None:
        """Ends all connections and stops listening."""
        self._loop.run(self._reset_all())
        self._loop.close()

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._accept, HOST, port)

    async def _be(self, mode: Mode, latency_s: float) -> None:
        was, self._mode, self._latency_s = self._mode, mode, latency_s
        if mode == "cut" and was != "cut":
            self._server.close()  # new connections are refused by the kernel
            await self._reset_all()
        elif was == "cut" and mode != "cut":
            self._server = await self._listen(self.port)
        elif was == "half-open" and mode != "half-open":
            for writer in tuple(self._deaf):
                _reset(writer)
                _reset(self._others[writer])

    async def _reset_all(self) -> None:
        for writer in tuple(self._others):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Python 3.11 calls it an error when the task of a connection is cancelled, which `close` does.
        with contextlib.suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection(HOST, self._upstream)
        except OSError:
            _reset(writer)  # the server is away, and so is what stands for it
            return
        if self._mode == "cut":
            _reset(there)
            _reset(writer)
            return
        self._others |= {writer: there, there: writer}
        ways = (self._pump(reader, there), self._pump(there_reader, writer))
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, there):
            self._others.pop(each)
            self._deaf.discard(each)
            each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, in order, until either side ends."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if self._mode == "half-open" or writer in self._deaf:
                    # What was swallowed once leaves a hole: nothing after it may arrive.
                    self._deaf.add(writer)
                    continue
                if self._mode == "delay":
                    await asyncio.sleep(self._latency_s)
                writer.write(data)
                await writer.drain()
        if writer not in self._deaf:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    found: object = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if isinstance(found, TransportSocket):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
