"""Making, recognising and revoking API keys. All of it is audited.

A key is `hr_ID_SECRET`. The secret part has 256 random bits, so that its SHA-256 says nothing of it and no slow hash is
needed, which every request would pay for.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from headrace.auditing import audited
from headrace.contracts.cloudevents import is_name
from headrace.contracts.roles import ALL_APPS, ROLES, Role
from headrace.storage import ApiKey, Storage

PREFIX = "hr_"
"""Begins every key, so that people and secret scanners know what it is."""

FIRST = "first admin key"
"""The name of the one that `headrace up` makes."""

_ID_BYTES, _SECRET_BYTES = 6, 32

_KEY = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")

_NO_KEY = bytes(32)
"""Compared with where there is no such key: an unknown id takes as long as a wrong secret."""


class WrongKey(ValueError):
    """What was asked for makes no key, or there is none to revoke; the message says what would."""


class Made(NamedTuple):
    """A new key and its text, which is told this once."""

    key: ApiKey
    text: str


class Parts(NamedTuple):
    """A key's text, taken apart."""

    id: str
    secret: str


async def make_key(
    storage: Storage, name: str, scopes: Mapping[str, Role], by: str, expires_at: datetime | None = None
) -> Made:
    """Makes a key with a role in each app of `scopes`; raises WrongKey, PlatformUnavailable."""
    now = datetime.now(UTC)
    _check(name, scopes, expires_at, now)
    parts = Parts(secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES))
    key = ApiKey(parts.id, digest(parts.secret), name, dict(scopes), now, by, expires_at)
    how = {"name": name, "scopes": [f"{app}={role}" for app, role in scopes.items()], "expires_at": expires_at}
    async with audited(storage, "create_key", by, {"key": parts.id}, how) as done:
        await storage.keys.add(key)
        done.count = 1
    return Made(key, f"{PREFIX}{parts.id}_{parts.secret}")


async def first_key(storage: Storage, by: str) -> Made | None:
    """The first admin key, of all apps; None where there is any key, revoked or not. Raises PlatformUnavailable."""
    if await storage.keys.all():
        return None
    return await make_key(storage, FIRST, {ALL_APPS: "admin"}, by)


async def revoke_key(storage: Storage, id: str, by: str) -> None:
    """Ends a key; gateways know within seconds. Raises WrongKey, PlatformUnavailable."""
    found = await storage.keys.get(id)
    if found is None:
        raise WrongKey(f"no key {id!r}; `headrace keys list` shows all")
    if found.revoked_at is not None:
        raise WrongKey(f"key {id} was revoked by {found.revoked_by} at {found.revoked_at:%Y-%m-%d %H:%M:%S}")
    async with audited(storage, "revoke_key", by, {"key": id}, {"name": found.name}) as done:
        done.count = int(await storage.keys.revoke(id, by, datetime.now(UTC)))


def key_facts(key: ApiKey) -> dict[str, object]:
    """The key as JSON shows it: nothing in it opens anything."""
    return {
        "key": key.id,
        "prefix": f"{PREFIX}{key.id}",
        "name": key.name,
        "scopes": key.scopes,
        "state": key_state(key),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "used_at": key.used_at,
    }


def key_state(key: ApiKey) -> str:
    """`valid`, `revoked` or `expired`."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"


def parts_of(text: str) -> Parts | None:
    """The parts of a key's text; None if it is none."""
    found = _KEY.fullmatch(text)
    return None if found is None else Parts(found[1], found[2])


def digest(secret: str) -> bytes:
    """What is kept of a key's secret part."""
    return sha256(secret.encode()).digest()


def is_valid(key: ApiKey | None, secret: str, now: datetime) -> bool:
    """Whether `secret` is that of `key`, and it may be used `now`. In constant time, whatever is wrong."""
    is_its = hmac.compare_digest(_NO_KEY if key is None else key.digest, digest(secret))
    if key is None or not is_its or key.revoked_at is not None:
        return False
    return key.expires_at is None or now < key.expires_at


def _check(name: str, scopes: Mapping[str, Role], expires_at: datetime | None, now: datetime) -> None:
    if not 1 <= len(name) <= _MOST_NAME or not name.isprintable():
        raise WrongKey(f"a key's name has 1 to {_MOST_NAME} printable characters")
    if not scopes:
        raise WrongKey("a key has a role in an app, or in all (*)")
    for app, role in scopes.items():
        if app != ALL_APPS and not is_name(app):
            raise WrongKey(f"app {app!r}: an app's name is made of a-z, 0-9, '_' and '-'; * stands for all")
        if role not in ROLES:
            raise WrongKey(f"unknown role {role!r}; known are {', '.join(ROLES)}")
    if expires_at is not None and expires_at <= now:
        raise WrongKey("the key would have expired already")


_MOST_NAME = 100
"""Characters: it is shown in tables and in the audit."""
