"""`sources check`, `sources try`: a sources file before a service reads it."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import Failed, Json, UsageError, console, print_json
from headrace.contracts.errors import ContractError
from headrace.settings import load_settings
from headrace.sources.decoding import shown
from headrace.sources.file import open_sources, read_sources
from headrace.sources.model import AnySource, CloudEventsSource, PlainSource
from headrace.streams import Record, Unavailable

app = typer.Typer(help="Topics that others write, as events.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The file that HEADRACE_SOURCES_FILE would name")]


@app.callback()
def sources() -> None:
    """Topics that others write, as events."""


@app.command("check")
def check(file: File, as_json: Json = False) -> None:
    """Say what a sources file maps to what, or what is wrong in it."""
    open_sources(load_settings(), file)
    for source in read_sources(file).sources:
        told = source.model_dump(mode="json", exclude_none=True)
        if as_json:
            print_json(told)
        else:
            kind = f"events of {source.app}" if _is_of_events(source) else f"rows of {source.app}"
            console.print(f"{source.topic}: {source.format}, {kind}", highlight=False, markup=False)


@app.command("try")
def try_record(
    file: File,
    topic: Annotated[str, typer.Option("--topic", help="The topic that the record would stand in")],
    key: Annotated[str | None, typer.Option("--key", help="The record's key")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", help="name=value, as often as needed")] = None,
) -> None:
    """Print what the record on standard input would be, as JSON; exit code 1 where it would be a dead letter."""
    mapped = open_sources(load_settings(), file)
    headers = [_header(text) for text in header or ()]
    now = int(time.time() * 1_000)
    record = Record(topic, 0, 0, now, None if key is None else key.encode(), sys.stdin.buffer.read(), headers)
    try:
        print_json(shown(mapped.read(record)))
    except ContractError as error:
        raise Failed(f"it would be a dead letter ({error.type}): {error.message}") from None
    except Unavailable as away:
        raise Failed(f"it would wait: {away}") from None


def _is_of_events(source: AnySource) -> bool:
    return isinstance(source, CloudEventsSource) or (isinstance(source, PlainSource) and source.table is None)


def _header(text: str) -> tuple[str, bytes]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--header {text!r}: expected name=value")
    return name, value.encode()
