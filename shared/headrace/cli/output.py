"""What the commands share: settings of a running stack, tables, JSON."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from headrace.embedded import running_stack, settings_with
from headrace.settings import Settings, SettingsError, load_settings
from headrace.storage import Storage

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_T = TypeVar("_T")
console = Console()


def connected_settings() -> Settings:
    """Settings with addresses: the configured ones, else those of the stack that `headrace up` keeps running."""
    settings = load_settings()
    if settings.kafka_bootstrap_servers and settings.mongodb_uri:
        return settings
    found = running_stack(settings)
    if found is None:
        raise SettingsError(
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
    """A table; long cells wrap."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    print_table(("", ""), [(name, value) for name, value in facts.items()])
