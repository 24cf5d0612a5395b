"""The apps file: what the operator configures for each app. `HEADRACE_APPS_FILE` names it; docs/apps.md explains it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from headrace.contracts.automation.values import Name, VariableName
from headrace.contracts.validation import Said
from headrace.engine.apps import NOT_CONFIGURED, AppConfig
from headrace.engine.connections import Connection, Secret
from headrace.operator_files import read_operator_file
from headrace.settings import Settings

ConnectionName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$"),
    Said("expected a name: 1 to 64 letters, digits, _ and -"),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AppSettings(_Part):
    """What templates see as `settings`."""

    url: str | None = None
    logo: str | None = None
    company: str | None = None


class App(_Part):
    """One app of the file."""

    env: dict[VariableName, str] = Field(default_factory=dict)
    secrets: dict[VariableName, Secret] = Field(default_factory=dict)
    settings: AppSettings = AppSettings()
    connections: dict[ConnectionName, Connection] = Field(default_factory=dict)


class AppsFile(_Part):
    """The whole file."""

    apps: dict[Name, App]


def load_apps(settings: Settings) -> Callable[[str], AppConfig]:
    """What is configured, by app: read once, so a change takes a restart. Nothing where no file is set.

    Raises SettingsError that names the file, the path in it and what is expected there, and quotes no value.
    """
    if settings.apps_file is None:
        return lambda app: NOT_CONFIGURED
    configs = read_apps(settings.apps_file)
    return lambda app: configs.get(app, NOT_CONFIGURED)


def read_apps(path: Path) -> Mapping[str, AppConfig]:
    """The apps of the file at `path`; raises SettingsError as `load_apps` does."""
    found = read_operator_file("HEADRACE_APPS_FILE", path, AppsFile)
    return {
        name: AppConfig(
            env=app.env,
            secrets=app.secrets,
            settings=app.settings.model_dump(exclude_none=True),
            connections=app.connections,
        )
        for name, app in found.apps.items()
    }
