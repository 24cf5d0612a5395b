"""`apply`, `automations list`, `automations show`."""

import getpass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from headrace import applying
from headrace.cli.output import Json, connected_settings, print_json, print_table, with_storage
from headrace.contracts.automation import Automation, DocumentError
from headrace.documents import load

app = typer.Typer(help="The automations that are live.", no_args_is_help=True)


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A YAML or JSON file, or a directory of them.")],
    as_json: Json = False,
) -> None:
    """Save automations and make them live; returns when every matcher has them. The same file again changes nothing."""
    documents = read_automations(file)
    settings = connected_settings()
    by = getpass.getuser()
    saved = with_storage(settings, lambda storage: applying.apply(settings, storage, documents, by))
    rows = [(each.live.document.id, each.live.version, "new" if each.changed else "unchanged") for each in saved]
    if as_json:
        print_json([dict(zip(("automation", "version", "change"), row, strict=True)) for row in rows])
    else:
        print_table(("automation", "version", ""), rows)


def read_automations(path: Path) -> list[Automation]:
    """The automations in a file (several YAML documents are allowed) or a directory; raises DocumentError, OSError."""
    return [each.automation for each in load(path)]


@app.command("list")
def list_automations(app_name: Annotated[str | None, typer.Option("--app")] = None, as_json: Json = False) -> None:
    """All live automations."""
    found = with_storage(connected_settings(), lambda storage: storage.automations.all(app_name))
    rows = [
        (each.document.id, each.version, each.state, each.document.trigger.type, each.document.priority, each.by)
        for each in found
    ]
    names = ("automation", "version", "state", "trigger", "priority", "by")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(names, rows)


@app.command("show")
def show(automation: Annotated[str, typer.Argument(help="app/name")], as_json: Json = False) -> None:
    """One automation's live document and state."""
    found = with_storage(connected_settings(), lambda storage: storage.automations.live(automation))
    if found is None:
        raise DocumentError(f"no automation {automation!r}; `headrace automations list` shows all")
    content = found.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if as_json:
        print_json(content)
    else:
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")
