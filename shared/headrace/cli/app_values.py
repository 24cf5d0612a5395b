"""`secrets set`, `list`, `delete`, `rotate`; `environment set`, `list`, `delete`."""

import getpass
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from headrace import app_values
from headrace.app_values import WrongValue
from headrace.apps import load_apps
from headrace.cli.output import (
    Failed,
    Json,
    UsageError,
    connected_settings,
    console,
    print_json,
    print_lines,
    with_storage,
)
from headrace.keyring import Keyring, NoKeys, Unreadable, load_keyring
from headrace.settings import Settings
from headrace.storage import Kind, Storage

secrets = typer.Typer(help="Secrets of apps, kept sealed in MongoDB; docs/apps.md.", no_args_is_help=True)
environment = typer.Typer(
    help="Environment variables of apps, kept sealed in MongoDB; docs/apps.md.", no_args_is_help=True
)

App = Annotated[str, typer.Argument(metavar="APP")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
By = Annotated[str | None, typer.Option("--by", help="Who does it, for the audit; else the user of this process")]

_T = TypeVar("_T")


@secrets.command("set")
def set_secret(
    app: App,
    name: Name,
    file: Annotated[Path | None, typer.Option("--file", help="Read it from here; else from standard input")] = None,
    by: By = None,
) -> None:
    """Set a secret, which is asked for or read: on a command line, every process of the machine could see it. Services
    have it within 5 s."""
    _set(app, "secret", name, _given(file), by)


@environment.command("set")
def set_variable(app: App, name: Name, value: Annotated[str, typer.Argument(metavar="VALUE")], by: By = None) -> None:
    """Set a variable. Services have it within 5 s."""
    _set(app, "environment", name, value, by)


@secrets.command("list")
def list_secrets(app: App, as_json: Json = False) -> None:
    """The names of an app's stored secrets. Nothing shows their values."""
    _list(app, "secret", as_json)


@environment.command("list")
def list_variables(app: App, as_json: Json = False) -> None:
    """An app's stored variables."""
    _list(app, "environment", as_json)


@secrets.command("delete")
def delete_secret(app: App, name: Name, by: By = None) -> None:
    """Take a secret away."""
    _delete(app, "secret", name, by)


@environment.command("delete")
def delete_variable(app: App, name: Name, by: By = None) -> None:
    """Take a variable away."""
    _delete(app, "environment", name, by)


@secrets.command("rotate")
def rotate(by: By = None, as_json: Json = False) -> None:
    """Seal all secrets and variables with the newest key. Cut off, ask again: it goes on with what is left."""
    count = _on_storage(lambda storage, keyring: app_values.reseal(storage, keyring, by or getpass.getuser()))
    if as_json:
        print_json({"resealed": count})
    else:
        told = "nothing is sealed with another key any more: older ones may be taken away"
        console.print(f"{count} values resealed; {told}", highlight=False)


def _set(app: str, kind: Kind, name: str, text: str, by: str | None) -> None:
    settings, who = connected_settings(), by or getpass.getuser()
    place = _place(app, kind, name)
    _refuse_hidden(settings, app, kind, name)
    _on_storage(lambda storage, keyring: app_values.set_value(storage, keyring, place, text, who), settings)
    console.print(f"{kind} {name} of {app} is set", highlight=False, markup=False)


def _delete(app: str, kind: Kind, name: str, by: str | None) -> None:
    place = _place(app, kind, name)
    try:
        with_storage(
            connected_settings(), lambda storage: app_values.delete_value(storage, place, by or getpass.getuser())
        )
    except WrongValue as error:
        raise Failed(str(error)) from None
    console.print(f"{kind} {name} of {app} is deleted", highlight=False, markup=False)


def _list(app: str, kind: Kind, as_json: bool) -> None:
    async def find(storage: Storage, keyring: Keyring) -> list[dict[str, object]]:
        found = await storage.app_values.of_app(app, kind)
        facts: list[dict[str, object]] = []
        for each in found:
            shown = {} if kind == "secret" or each.sealed is None else {"value": keyring.open(each.place, each.sealed)}
            facts.append({"name": each.place.name, **shown, "at": each.at, "by": each.by})
        return facts

    facts = _on_storage(find)
    if as_json:
        print_json(facts)
    else:
        names = ("name", "value", "at", "by") if kind == "environment" else ("name", "at", "by")
        print_lines(names, [[each[name] for name in names] for each in facts])


def _on_storage(
    work: Callable[[Storage, Keyring], Awaitable[_T]],
    settings: Settings | None = None,
) -> _T:
    found = settings or connected_settings()
    keyring = load_keyring(found)
    try:
        return with_storage(found, lambda storage: work(storage, keyring))
    except WrongValue as error:
        raise UsageError(str(error)) from None
    except (NoKeys, Unreadable) as error:
        raise Failed(str(error)) from None


def _place(app: str, kind: Kind, name: str) -> app_values.Place:
    try:
        return app_values.place_of(app, kind, name)
    except WrongValue as error:
        raise UsageError(str(error)) from None


def _refuse_hidden(settings: Settings, app: str, kind: Kind, name: str) -> None:
    config = load_apps(settings)(app)
    if name in (config.secrets if kind == "secret" else config.env):
        raise Failed(f"{kind} {name} is set in {settings.apps_file}, which goes before what is stored")


def _given(file: Path | None) -> str:
    if file is None and sys.stdin.isatty():
        return getpass.getpass("Value: ")
    content = sys.stdin.buffer.read() if file is None else file.read_bytes()
    try:
        # Editors and `echo` end a text with a line break that is no part of the secret.
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("what was given is no text in UTF-8") from None
