"""`apply`, `automations list`, `automations show`, and what changes an automation's state."""

import getpass
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
import yaml

from headrace import applying
from headrace.cli.output import (
    Failed,
    Json,
    UsageError,
    check_reason,
    connected_settings,
    console,
    print_json,
    print_table,
    with_storage,
)
from headrace.contracts.automation import RELEASE_RATE, Automation, DocumentError
from headrace.documents import load
from headrace.switching import Asked, NotSwitched, Switch, switch

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
    rows = [
        (each.live.document.id, each.live.version, "new" if each.changed else "unchanged", each.live.state)
        for each in saved
    ]
    if as_json:
        print_json([dict(zip(("automation", "version", "change", "state"), row, strict=True)) for row in rows])
    else:
        print_table(("automation", "version", "", "state"), rows)


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


Id = Annotated[str, typer.Argument(metavar="AUTOMATION", help="app/name")]
Reason = Annotated[str, typer.Option("--reason", help="For whoever looks at the automation, and for the audit")]
By = Annotated[str | None, typer.Option("--by", help="Who asks; by default the system's user")]


@app.command("pause")
def pause(automation: Id, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Events still start runs, and these wait until `resume`; a clock stands still. What is under way goes on to its
    end, or until it next waits."""
    check_reason(reason)
    _switch(automation, "pause", reason, by, as_json)


@app.command("resume")
def resume(
    automation: Id,
    reason: Reason = "",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0.01, max=100_000, help=f"Waiting runs that go on in a second, {RELEASE_RATE:g} as a rule"
        ),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """What waited since `pause` goes on, the first one first, at a rate; what comes from now on runs at once."""
    if rate is not None and not isfinite(rate):
        raise UsageError(f"--rate {rate}: a number is wanted")
    _switch(automation, "resume", reason, by, as_json, rate)


@app.command("disable")
def disable(automation: Id, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Events pass by, and a clock is taken out. What has begun or is queued goes on."""
    check_reason(reason)
    _switch(automation, "disable", reason, by, as_json)


@app.command("enable")
def enable(automation: Id, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """Events start runs again, from now on."""
    _switch(automation, "enable", reason, by, as_json)


def _switch(
    automation: str, which: Switch, reason: str, by: str | None, as_json: bool, rate: float | None = None
) -> None:
    settings, asked = connected_settings(), Asked(which, by or getpass.getuser(), reason, rate)
    try:
        live = with_storage(settings, lambda storage: switch(settings, storage, automation, asked))
    except NotSwitched as error:
        raise Failed(str(error)) from None
    if as_json:
        print_json({"automation": automation, "state": live.state, "reason": live.reason, "by": live.by})
    else:
        console.print(f"{automation} is {live.state}", highlight=False, markup=False)
