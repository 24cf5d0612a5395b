"""`tables apply`, `list`, `show` and `remove`."""

import getpass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from headrace.cli.output import Failed, Json, connected_settings, console, print_json, print_table, with_storage
from headrace.contracts.tables import Table
from headrace.defining import Defined, NotSaved, define, load_tables, undefine
from headrace.engine.rows import RowRefused
from headrace.storage import SavedTable, Storage

app = typer.Typer(help="The tables of apps: which columns their rows have, and of which types.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="TABLE", help="app/name")]
By = Annotated[str | None, typer.Option("--by", help="Who asks; by default the system's user")]


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A YAML or JSON file, or a directory of them.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Save definitions: from then on MongoDB refuses rows that do not fit. Rows that are there stay, and those that do
    not fit are named. The same file again changes nothing."""
    tables, who = load_tables(file), by or getpass.getuser()

    async def save(storage: Storage) -> list[Defined]:
        await storage.prepare()
        return [await define(storage, table, who) for table in tables]

    try:
        found = with_storage(connected_settings(), save)
    except RowRefused as error:
        raise Failed(str(error)) from None
    rows = [
        (each.saved.table.id, each.saved.revision, "new" if each.changed else "unchanged", list(each.misfits))
        for each in found
    ]
    names = ("table", "revision", "change", "misfits")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table((*names[:2], "", "rows that do not fit"), [(*row[:3], ", ".join(row[3])) for row in rows])


@app.command("list")
def list_tables(app_name: Annotated[str | None, typer.Option("--app")] = None, as_json: Json = False) -> None:
    """All tables that are defined."""
    found = with_storage(connected_settings(), lambda storage: storage.tables.all(app_name))
    names = ("table", "revision", "columns", "open", "by")
    rows = [(each.table.id, each.revision, len(each.table.columns), each.table.open, each.by) for each in found]
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(names, rows)


@app.command("show")
def show(table: Id, as_json: Json = False) -> None:
    """One table's definition, as `apply` takes it."""
    content = _document(_found(with_storage(connected_settings(), lambda storage: storage.tables.get(table)), table))
    if as_json:
        print_json(content)
    else:
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")


@app.command("remove")
def remove(table: Id, by: By = None) -> None:
    """Take a definition away. The rows stay, and any row is taken from then on."""
    try:
        with_storage(connected_settings(), lambda storage: undefine(storage, table, by or getpass.getuser()))
    except NotSaved as error:
        raise Failed(str(error)) from None
    console.print(f"{table} is no longer defined; its rows are there", highlight=False, markup=False)


def _found(saved: SavedTable | None, id: str) -> Table:
    if saved is None:
        raise Failed(f"there is no table {id}; `headrace tables list` shows all")
    return saved.table


def _document(table: Table) -> dict[str, object]:
    return {**table.model_dump(mode="json", exclude_defaults=True)}
