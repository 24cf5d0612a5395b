"""What the commands share: settings of a running stack, tables, JSON."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.documents import WrongFiles
from headrace.embedded import running_stack, settings_with
from headrace.engine.plain import dumps
from headrace.settings import Settings, load_settings
from headrace.storage import Storage

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class UsageError(Exception):
    """What was asked cannot be meant; the message says what would be understood."""


class Failed(Exception):
    """What was asked could not be done; the message says why."""


def check_reason(text: str) -> None:
    """Raises UsageError for a `--reason` that says nothing: who reads it later has nobody to ask."""
    if not text.strip():
        raise UsageError("--reason: say why, in a few words")


_T = TypeVar("_T")
console = Console()


def connected_settings() -> Settings:
    """Settings with addresses: the configured ones, else those of the stack that `headrace up` keeps running."""
    settings = load_settings()
    if settings.kafka_bootstrap_servers and settings.mongodb_uri:
        return settings
    found = running_stack(settings)
    if found is None:
        raise Failed(
            "no stack is running: start one with `headrace up` in another terminal, or set KAFKA_BOOTSTRAP_SERVERS and "
            "MONGODB_URI"
        )
    return settings_with(settings, found)


def with_storage(settings: Settings, work: Callable[[Storage], Awaitable[_T]]) -> _T:
    """Runs `work` on an open storage."""

    async def run() -> _T:
        storage = Storage(settings)
        try:
            return await work(storage)
        finally:
            storage.close()

    return asyncio.run(run())


def print_json(value: object) -> None:
    """One line of JSON."""
    print(orjson.dumps(value, option=orjson.OPT_UTC_Z).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; long cells wrap, and nothing is cut."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As Text: brackets in a value are no markup.
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table)


def print_lines(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table of one line a row, as wide as it must be: to copy ids from, and for other programs to read."""
    cells = [list(columns), *([one_line(shown(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_located(error: WrongFiles) -> None:
    """The mistakes of automation files as compilers print theirs, so that an editor finds each place."""
    for each in error.located:
        print(one_line(str(each)), file=sys.stderr)


def one_line(text: str) -> str:
    """The text without what would leave its line, or make a terminal do something."""
    # A key is whatever a publisher chose: a line break, or codes that a terminal would obey.
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def shown(value: object) -> str:
    """A value for people: text as it is, times in ISO 8601, nothing for null, all else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        return value.isoformat()
    return dumps(value).decode()


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    print_table(("", ""), [(name, value) for name, value in facts.items()])
