"""`/api/v1/apps/{app}/automations/test`: a document tried on an event, as `headrace run` does it.

In a process of its own, which ends at its time whatever a template or script does, and which has neither the addresses
of Kafka and MongoDB nor the keys that open stored secrets.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace.engine.plain import dumps
from headrace.settings import Settings
from services.gateway import bodies
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.problems import FieldError, Problem

WITHIN_S = 30.0
"""A run's own steps take milliseconds without their effects; with them as long as a person waits for an answer."""

AT_ONCE = 2
"""Each takes a core for a second, which is webhooks' as well."""

MOST_ANSWER = 8 << 20
"""Bytes: of a record 1 MB, and what was published and written beside it."""

MOST_STUB = 100_000
"""Bytes: Linux gives an argument 128 KB (MAX_ARG_STRLEN)."""

_WELL, _FAILED, _WRONG = 0, 1, 2
"""Exit codes of `headrace run`: the run ended well, it did not, what was given cannot be used."""

_OURS = ("HEADRACE_", "KAFKA_", "MONGODB_")
"""What names of our own settings begin with: addresses and keys. The others stay, as an apps file may name any of them
for a secret."""


class Trial(BaseModel):
    """A document, an event in the form of its trigger, and what stands for steps. With `effects` others are called."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "document": {
                        "name": "thanks",
                        "app": "shop",
                        "trigger": {"type": "event", "event": "order.created"},
                        "steps": [{"id": "total", "collect": "{{ trigger.data.total * 2 }}"}],
                    },
                    "event": {"type": "order.created", "data": {"total": 21}},
                }
            ]
        },
    )

    document: dict[str, Any]
    event: dict[str, Any] = Field(default_factory=dict[str, Any])
    stubs: dict[str, Any] = Field(default_factory=dict[str, Any], max_length=1_000)
    effects: bool = False


def router(context: Context) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/automations", tags=["automations"])
    editor, room = requires(context.keys, "editor"), asyncio.Semaphore(AT_ONCE)

    @routes.post("/test")
    async def test(app: str, trial: Trial, request: Request, _: Annotated[Caller, Depends(editor)]) -> Response:
        """Runs a document on an event and saves nothing: the run's record, what it would have published and the rows
        that it would have written. Steps that call others are not made, unless `effects` is true or a stub stands for
        them. The same shape as of `headrace run --json`."""
        if trial.document.get("app") != app:
            told = FieldError("body.document.app", f"the path says {app[:64]!r}")
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_document", "this is another app's", errors=[told])
        for id, stub in trial.stubs.items():
            if (size := len(id.encode(errors="replace")) + len(dumps(stub))) > MOST_STUB:
                told = FieldError(f"body.stubs.{id[:64]}", f"it has {size} bytes; {MOST_STUB} are accepted")
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too_large", "a stub is too large", errors=[told])
        async with room:
            return await tried(trial, context.settings)

    return routes


async def tried(trial: Trial, settings: Settings) -> Response:
    """What came of it; raises Problem for what cannot be tried, and for what does not end."""
    with TemporaryDirectory(prefix="headrace-trial-") as directory:
        document = Path(directory) / "document.json"
        document.write_bytes(dumps(trial.document))
        arguments = [str(document), "--event", "-", "--json", *(["--allow-effects"] if trial.effects else [])]
        stubs = [text for id, stub in trial.stubs.items() for text in ("--stub", f"{id}={orjson.dumps(stub).decode()}")]
        code, out, said = await _run([*arguments, *stubs], dumps(trial.event), environment_of(settings), directory)
    if code in (_WELL, _FAILED) and out:
        return Response(out, media_type=bodies.JSON)
    told = said.decode(errors="replace").replace(f"{document}:", "").replace(str(document), "document").strip()
    if code == _WRONG:
        first = told.removeprefix("headrace: ")[:4_000]
        errors = [FieldError("body", line[:1_000]) for line in first.splitlines()[:20]]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_trial", first.partition("\n")[0], errors=errors)
    raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "trial_failed", told[-1_000:] or "the run ended without a word")


async def _run(
    arguments: list[str], event: bytes, environment: Mapping[str, str], directory: str
) -> tuple[int, bytes, bytes]:
    """Exit code, output and error output; raises Problem for what takes too long or says too much."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace.cli",
        "run",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,  # scripts have processes of their own, which end with it
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, said = await process.communicate(event)
    except TimeoutError:
        told = f"the run had not ended after {WITHIN_S:g} s"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too_slow", told) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if len(out) > MOST_ANSWER:
        told = f"what came of it has {len(out)} bytes; {MOST_ANSWER} are answered"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too_large", told)
    return process.returncode or 0, out, said


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of the process that tries a document."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    kept["AUTOMATION_MAX_ITERATIONS"] = str(settings.max_iterations)
    kept["HEADRACE_ALLOW_PRIVATE_HOSTS"] = str(settings.allow_private_hosts).lower()
    if settings.apps_file is not None:
        kept["HEADRACE_APPS_FILE"] = str(settings.apps_file.absolute())
    return kept
