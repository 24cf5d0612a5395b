"""What is configured for one app, as its runs see it."""

from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from headrace.engine.connections import Connection
from headrace.engine.masking import Mask

_NONE: Mapping[str, object] = {}


class AppConfig:
    """One app's configuration: immutable, a change is a new one.

    `secrets` are in clear, for its templates only; `mask` knows them, what they were before (`former_secrets`), and
    the connections' credentials. The repr of the object shows nothing.
    """

    __slots__ = ("connections", "env", "mask", "secrets", "settings")

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, SecretStr] | None = None,
        settings: Mapping[str, object] = _NONE,
        connections: Mapping[str, Connection] | None = None,
        former_secrets: Iterable[str] = (),
    ) -> None:
        self.env: Mapping[str, str] = dict(env or {})
        self.secrets: Mapping[str, str] = {name: each.get_secret_value() for name, each in (secrets or {}).items()}
        self.settings = dict(settings)
        self.connections: Mapping[str, Connection] = dict(connections or {})
        hidden = (value for each in self.connections.values() for value in each.hidden())
        self.mask = Mask([*self.secrets.values(), *former_secrets, *hidden])


NOT_CONFIGURED = AppConfig()


def nothing_configured(app: str) -> AppConfig:
    """The default of `Ports.apps`: no app has anything."""
    return NOT_CONFIGURED
