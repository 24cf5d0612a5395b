"""A few worker processes that run the scripts of all runs: started when first needed, replaced when they break."""

import asyncio
import signal
import struct
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.engine.plain import dumps
from headrace.engine.scripts import limits
from headrace.engine.scripts.messages import Script, ScriptFailed, ScriptResult
from headrace.engine.scripts.process import Worker, WorkerEnded
from headrace.engine.scripts.turns import Turns

WORKERS = 2
"""A script computes, so more than the cores that are left to it would only slow each other down; and each worker holds
some 70 MB. More scripts at once: more orchestrators."""

GRACE_S = 1.0
"""Beyond a script's time, for its worker to say that it is up. One that then says nothing does not stop: it is
killed."""

_OUT_OF_MEMORY = (-signal.SIGTRAP, -signal.SIGABRT, limits.OUT_OF_MEMORY)
"""How V8 ends its process where it finds no memory, and how the worker does."""


class _Failure(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    stage: Literal["compile", "run", "output", "time", "memory", "answer"]
    name: str
    message: str
    line: int | None


class _Answer(BaseModel):
    """What a worker says; it is checked like anything else that comes from outside."""

    model_config = ConfigDict(strict=True, extra="forbid")

    value: str | None
    logs: list[str]
    unlogged: int
    failed: _Failure | None


class ScriptPool:
    """Implements the engine's ScriptRunner. Belongs to one event loop, from its first script on."""

    def __init__(self) -> None:
        self._turns = Turns(WORKERS)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._closed = False

    async def run(self, app: str, script: Script) -> ScriptResult:
        """Runs one script; see ScriptRunner. Raises RuntimeError once the pool is closed."""
        request = _request(script)
        await self._turns.take(app)
        try:
            if self._closed:
                raise RuntimeError("the pool of scripts is closed")
            return _result(await self._ask(request))
        finally:
            self._turns.give_back()

    async def close(self) -> None:
        """Ends all workers, and with them the scripts under way."""
        self._closed = True
        ending = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(worker.end() for worker in ending))

    async def _ask(self, request: bytes) -> _Answer:
        worker = await self._ready_worker()
        self._busy.add(worker)
        keep = False
        try:
            async with asyncio.timeout(limits.TIME_S + GRACE_S):
                answer = _read(await worker.ask(request))
            keep = answer.failed is None or answer.failed.stage in ("compile", "run", "output")
            return answer
        except TimeoutError:
            raise _failure("time") from None
        except WorkerEnded as ended:
            if ended.code in _OUT_OF_MEMORY:
                raise _failure("memory") from None
            raise ScriptFailed("script_crashed", f"the process that ran it ended ({_how(ended.code)})") from None
        finally:
            self._busy.discard(worker)
            # One that was cut off, or took too much, may be in any state.
            if keep and not self._closed:
                self._idle.append(worker)
            else:
                await worker.end()

    async def _ready_worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if not worker.has_ended:
                return worker
            await worker.end()
        return await Worker.start()


def _request(script: Script) -> bytes:
    request = dumps(
        {
            "code": script.code,
            "inputs": script.inputs,
            "context": script.context,
            "seed": struct.unpack(">4I", script.seed[:16]),
            "now": script.now_ms,
            "limits": {
                "output": limits.OUTPUT_BYTES,
                "lines": limits.LOG_LINES,
                "characters": limits.LOG_CHARACTERS,
            },
        }
    )
    if len(request) > limits.REQUEST_BYTES:
        raise ScriptFailed(
            "script_memory",
            f"its code, inputs and context have {len(request)} bytes as JSON; {limits.REQUEST_BYTES} are accepted",
        )
    return request


def _read(answer: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(answer)
    except ValidationError:
        # Its own code can do that: by changing how objects become JSON.
        return _Answer(value=None, logs=[], unlogged=0, failed=_Failure(stage="answer", name="", message="", line=None))


def _result(answer: _Answer) -> ScriptResult:
    more = (f"({answer.unlogged} more lines)",) if answer.unlogged else ()
    logs = (*answer.logs, *more)
    failed = answer.failed
    if failed is not None:
        raise _failure(failed.stage, failed, logs)
    text = answer.value or "null"
    if len(text.encode(errors="replace")) > limits.OUTPUT_BYTES:
        raise _failure("output", None, logs)
    try:
        return ScriptResult(orjson.loads(text), logs)
    except orjson.JSONDecodeError as error:
        is_deep = "depth" in str(error) or "recursion" in str(error)
        why = "is nested too deeply" if is_deep else "has half a character (a lone surrogate) in a text"
        raise ScriptFailed("script_output", f"its value {why}", logs) from None


def _failure(stage: str, failed: _Failure | None = None, logs: tuple[str, ...] = ()) -> ScriptFailed:
    match stage:
        case "time":
            return ScriptFailed("script_timeout", f"it did not end within {limits.TIME_S:g} s", logs)
        case "output":
            most = limits.OUTPUT_BYTES
            return ScriptFailed("script_output", f"its value has more than {most} bytes as JSON", logs)
        case "answer":
            return ScriptFailed(
                "script_output", "its value could not be read: it has changed how objects become JSON", logs
            )
        case "run" | "compile" if failed is not None:
            if failed.name == "RangeError" and "allocation failed" in failed.message:
                return _failure("memory", None, logs)
            place = "" if failed.line is None else f"line {failed.line}: "
            return ScriptFailed("script_error", f"{place}{failed.name}: {failed.message}", logs)
        case _:
            return ScriptFailed("script_memory", f"it needs more than {limits.HEAP_BYTES >> 20} MB of memory", logs)


def _how(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    except ValueError:
        return f"signal {-code}"
