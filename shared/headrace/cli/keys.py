"""`keys create`, `keys list`, `keys revoke`."""

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, cast

import typer

from headrace.api_keys import Made, WrongKey, key_facts, key_state, make_key, revoke_key
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
from headrace.contracts.automation.values import delay_seconds
from headrace.contracts.roles import ALL_APPS, ROLES, Role
from headrace.storage import ApiKey

app = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)

By = Annotated[str | None, typer.Option("--by", help="Who does it, for the audit; else the user of this process")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for, or whose it is")],
    role: Annotated[str, typer.Option("--role", help=", ".join(ROLES))],
    apps: Annotated[list[str] | None, typer.Option("--app", help="An app; may be given more than once")] = None,
    all_apps: Annotated[bool, typer.Option("--all-apps", help="In every app")] = False,
    expires: Annotated[str | None, typer.Option("--expires", help="After this time, for example 12h or 30d")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once: what is stored cannot give it back."""
    if bool(apps) == all_apps:
        raise UsageError("give --app, once or more often, or --all-apps")
    scopes: dict[str, Role] = {each: cast(Role, role) for each in apps or [ALL_APPS]}
    ends = _ends(expires)
    try:
        made = with_storage(
            connected_settings(), lambda storage: make_key(storage, name, scopes, by or getpass.getuser(), ends)
        )
    except WrongKey as error:
        raise UsageError(str(error)) from None
    tell_made(made, as_json)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """All keys, without what is secret of them."""
    found = with_storage(connected_settings(), lambda storage: storage.keys.all())
    if as_json:
        print_json([key_facts(each) for each in found])
        return
    print_lines(
        ("key", "name", "scopes", "state", "expires", "used", "by"),
        [
            (key.id, key.name, _scopes(key), key_state(key), _time(key.expires_at), _time(key.used_at), key.created_by)
            for key in found
        ],
    )


@app.command("revoke")
def revoke(
    id: Annotated[str, typer.Argument(metavar="KEY", help="As `keys list` names it")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """End a key: gateways refuse it within seconds."""
    try:
        with_storage(connected_settings(), lambda storage: revoke_key(storage, id, by or getpass.getuser()))
    except WrongKey as error:
        raise Failed(str(error)) from None
    if as_json:
        print_json({"key": id, "state": "revoked"})
    else:
        console.print(f"key {id} is revoked", highlight=False)


def tell_made(made: Made, as_json: bool = False) -> None:
    """Shows a new key."""
    if as_json:
        print_json({**key_facts(made.key), "text": made.text})
        return
    print(made.text)
    told = f"key {made.key.id} ({made.key.name}): {_scopes(made.key)}; it is not shown again"
    console.print(told, highlight=False, markup=False)


def _scopes(key: ApiKey) -> str:
    return ", ".join(f"{role} of {'all apps' if app == ALL_APPS else app}" for app, role in key.scopes.items())


def _time(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _ends(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=delay_seconds(expires))
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
