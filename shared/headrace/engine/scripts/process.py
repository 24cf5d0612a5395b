"""One worker: a process with a pipe to it."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

from headrace.engine.errors import PlatformUnavailable
from headrace.engine.scripts.limits import ANSWER_BYTES, LIMITS

START_S = 15.0
"""For a worker to be ready. It takes a fifth of a second; past this the machine is too loaded to run anything."""

_WORKER = Path(__file__).with_name("worker.py")


class WorkerEnded(Exception):
    """The worker is gone, or sends what no worker sends; `code` is its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """A worker that is ready. It has no environment, no descriptors but its pipe, and a session of its own."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @classmethod
    async def start(cls) -> Self:
        """Starts one and waits until it is ready; raises PlatformUnavailable."""
        ours, theirs = socket.socketpair()
        try:
            # A millisecond, and not in another thread: on Linux the worker dies with the thread that started it.
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-I", str(_WORKER), str(os.getpid()), json.dumps(LIMITS)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise PlatformUnavailable(f"no process for scripts can be started ({error.strerror})") from None
        finally:
            theirs.close()
        worker = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            async with asyncio.timeout(START_S):
                await worker._receive()
        except (TimeoutError, WorkerEnded):
            await worker.end()
            raise PlatformUnavailable("a process for scripts does not become ready") from None
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    async def ask(self, request: bytes) -> bytes:
        """The answer to one request; raises WorkerEnded. Cancelled, it leaves a worker that must be ended."""
        try:
            self._writer.write(struct.pack(">I", len(request)) + request)
            await self._writer.drain()
        except ConnectionError:
            raise WorkerEnded(await self.end()) from None
        return await self._receive()

    async def _receive(self) -> bytes:
        try:
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            if length <= ANSWER_BYTES:
                return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            # Its end of the pipe closes a moment before it is gone.
            code = await asyncio.to_thread(self._process.wait)
            await self.end()
            raise WorkerEnded(code) from None
        raise WorkerEnded(await self.end())

    async def end(self) -> int:
        """Kills the process if it is there; answers its exit code."""
        self._process.kill()
        self._writer.close()
        return await asyncio.to_thread(self._process.wait)
