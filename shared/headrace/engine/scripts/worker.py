"""The process in which scripts run: `python -I worker.py PARENT LIMITS`. It knows V8, its limits, and one pipe.

Frames go both ways: four bytes of length, then JSON. The first one out says that it is ready; then one answers each in.
It is run as a file, not as a module, so that nothing of Headrace is loaded beside what may break out of V8.
"""

import ctypes
import json
import os
import re
import resource
import signal
import struct
import sys
import time
from pathlib import Path
from typing import BinaryIO, TypedDict, cast

from py_mini_racer import (
    DEFAULT_V8_FLAGS,
    JSEvalException,
    JSOOMException,
    JSParseException,
    JSTimeoutException,
    MiniRacer,
)
from py_mini_racer._dll import init_mini_racer

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""

_FILES = 16
"""Descriptors: its pipe, three that lead nowhere, and a few that Python and V8 open for a moment."""


_PRELUDE = Path(__file__).with_name("prelude.js").read_text()


class Limits(TypedDict):
    """What a script may use up; `process_bytes` are the worker's, beyond what it has when it is ready."""

    time_s: float
    heap_bytes: int
    v8_heap_mb: int
    process_bytes: int
    out_of_memory: int


class _Failed(TypedDict):
    stage: str
    name: str
    message: str
    line: int | None


class _Answer(TypedDict):
    value: str | None
    logs: list[str]
    unlogged: int
    failed: _Failed | None


def main() -> None:
    """Answers until the pipe ends."""
    _die_with(int(sys.argv[1]))
    limits = cast(Limits, json.loads(sys.argv[2]))
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.environ["TZ"] = "UTC"
    time.tzset()
    init_mini_racer(flags=(*DEFAULT_V8_FLAGS, f"--max-heap-size={limits['v8_heap_mb']}"))
    with MiniRacer() as warm:
        warm.eval("1")
    _confine(limits["process_bytes"])
    try:
        _send(outgoing, b"{}")
        while request := _receive(incoming):
            _send(outgoing, _answer(request, limits))
    except MemoryError:
        os._exit(limits["out_of_memory"])


def _die_with(parent: int) -> None:
    """Ends this process with its parent, even amid a script; where there is no prctl, at the script's end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()


def _confine(more_bytes: int) -> None:
    """Takes away what no script needs, once Python and V8 have what they need."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_DATA, _data_bytes() + more_bytes),
    ):
        resource.setrlimit(kind, (most, most))


def _data_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        # Not Linux: what V8 reserves is then part of the bound, which is loose.
        return 1 << 40
    found = re.search(r"VmData:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else 1 << 40


def _answer(request: bytes, limits: Limits) -> bytes:
    # Closed before the answer is sent: a script that does not stop is seen by who waits for it.
    with MiniRacer() as context:
        try:
            # A text within a text: as JavaScript source, `__proto__` in data would be no mere name.
            source = f"{_PRELUDE}({json.dumps(request.decode())})"
            answer = context.eval(source, timeout_sec=limits["time_s"], max_memory=limits["heap_bytes"])
        except JSTimeoutException:
            return _failed("time")
        except JSOOMException:
            return _failed("memory")
        except JSEvalException as error:
            return _failed("memory" if "allocation failed" in str(error) else "answer")
    if not isinstance(answer, str):
        return _failed("answer")
    encoded = answer.encode(errors="replace")
    return _with_line(encoded, request, limits) if b'"stage":"compile"' in encoded else encoded


def _failed(stage: str) -> bytes:
    failed: _Failed = {"stage": stage, "name": "", "message": "", "line": None}
    answer: _Answer = {"value": None, "logs": [], "unlogged": 0, "failed": failed}
    return json.dumps(answer).encode()


def _with_line(answer: bytes, request: bytes, limits: Limits) -> bytes:
    """The answer, with the line of a mistake in the code's form: only V8's own report of it has that."""
    found = cast(_Answer, json.loads(answer))
    failed = found["failed"]
    if failed is not None and failed["stage"] == "compile":
        code: str = json.loads(request)["code"]
        try:
            with MiniRacer() as context:
                source = f"(function (inputs, context) {{\n{code}\n}})"
                context.eval(source, timeout_sec=limits["time_s"], max_memory=limits["heap_bytes"])
        except JSParseException as error:
            place = re.search(r"<anonymous>:(\d+): ", str(error))
            failed["line"] = int(place[1]) - 1 if place else None
        except JSEvalException:
            # Code that closes the function around it; where its mistake is stays unsaid.
            pass
    return json.dumps(found).encode()


def _receive(incoming: BinaryIO) -> bytes:
    """The next frame; nothing at the pipe's end."""
    head = incoming.read(4)
    return incoming.read(struct.unpack(">I", head)[0]) if len(head) == 4 else b""


def _send(outgoing: BinaryIO, frame: bytes) -> None:
    outgoing.write(struct.pack(">I", len(frame)) + frame)
    outgoing.flush()


if __name__ == "__main__":
    main()
