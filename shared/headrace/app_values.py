"""Secrets and environment variables of apps in MongoDB: setting, deleting and resealing them. All of it is audited,
none of it with a value."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from headrace.auditing import audited
from headrace.contracts.cloudevents import is_name
from headrace.engine.connections import MAX_SECRET
from headrace.keyring import Keyring, Place, Unreadable, unknown_keys
from headrace.storage import AppValue, Former, Kind, Storage

MOST_VALUES = 500
"""Of a kind in one app: each is in the memory of every orchestrator and gateway, and a mask searches for each."""

MOST_FORMER = 10
FORMER_FOR = timedelta(days=90)
"""How many earlier values of a secret, and for how long, stay masked: runs that read one may wait for weeks and then go
on."""

_BATCH = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class WrongValue(ValueError):
    """What was asked for makes no value, or there is none; the message says which, and quotes no value."""


def place_of(app: str, kind: Kind, name: str) -> Place:
    """A place; raises WrongValue for names that are none."""
    if not is_name(app):
        raise WrongValue("an app's name is made of a-z, 0-9, '_' and '-'")
    if not _NAME.fullmatch(name):
        raise WrongValue("a name is a letter or _, then at most 63 letters, digits and _")
    return Place(app, kind, name)


async def set_value(storage: Storage, keyring: Keyring, place: Place, text: str, by: str) -> None:
    """Stores a value in place of whatever was there. Services have it within seconds.

    Raises WrongValue, NoKeys, Unreadable (values are there that these keys do not open: it is not the installation's
    keyring), PlatformUnavailable.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise WrongValue("half of a surrogate pair (\\ud800 to \\udfff) is no character") from None
    if size > MAX_SECRET:
        raise WrongValue(f"a value has at most {MAX_SECRET} bytes")
    if not text and place.kind == "secret":
        raise WrongValue("a secret is not empty")
    await _refuse_foreign(storage, keyring)
    sealed = keyring.seal(place, text)
    others = [each for each in await storage.app_values.of_app(place.app, _kind(place)) if each.place != place]
    if len(others) >= MOST_VALUES:
        raise WrongValue(f"app {place.app} has {MOST_VALUES} of them already, which is the most")
    async with audited(storage, f"set_{place.kind}", by, {"app": place.app, "name": place.name}, {}) as done:
        while not done.count:
            now, before = datetime.now(UTC), await storage.app_values.get(place)
            revision = "" if before is None else before.revision
            value = AppValue(place, sealed, _former(before, now), revision, by, now)
            done.count = int(await storage.app_values.put(value))


async def delete_value(storage: Storage, place: Place, by: str) -> None:
    """Takes a value away; what it was stays masked. Raises WrongValue if there is none, PlatformUnavailable."""
    await _found(storage, place)
    async with audited(storage, f"delete_{place.kind}", by, {"app": place.app, "name": place.name}, {}) as done:
        while not done.count:
            now, before = datetime.now(UTC), await _found(storage, place)
            gone = replace(before, sealed=None, former=_former(before, now), by=by, at=now)
            done.count = int(await storage.app_values.put(gone))


async def reseal(storage: Storage, keyring: Keyring, by: str) -> int:
    """Seals with the newest key whatever is sealed with an older one; answers how many values that were.

    Each is written by itself: cut off, it is simply asked for again. Raises NoKeys, Unreadable, PlatformUnavailable.
    """
    await _refuse_foreign(storage, keyring)
    async with audited(storage, "reseal", by, {}, {"key": keyring.newest}) as done:
        while found := await storage.app_values.not_of(keyring.newest, _BATCH):
            for each in found:
                # One that was changed meanwhile is found again, if it still has to be.
                done.count += int(await storage.app_values.put(_resealed(keyring, each)))
        return done.count


def _resealed(keyring: Keyring, value: AppValue) -> AppValue:
    place = value.place
    former = tuple(replace(each, sealed=keyring.seal(place, keyring.open(place, each.sealed))) for each in value.former)
    sealed = None if value.sealed is None else keyring.seal(place, keyring.open(place, value.sealed))
    return replace(value, sealed=sealed, former=former)


async def _found(storage: Storage, place: Place) -> AppValue:
    found = await storage.app_values.get(place)
    if found is None or found.sealed is None:
        raise WrongValue(f"app {place.app} has no {place.kind} {place.name} that is stored here")
    return found


async def _refuse_foreign(storage: Storage, keyring: Keyring) -> None:
    # What a wrong key seals, no service could open.
    if keyring.newest and (foreign := sorted(each for each in await storage.app_values.keys() if each not in keyring)):
        raise Unreadable(f"values are {unknown_keys(foreign)}")


def _former(before: AppValue | None, now: datetime) -> tuple[Former, ...]:
    if before is None or before.place.kind != "secret":
        return ()
    last = () if before.sealed is None else (Former(before.sealed, now),)
    kept = (*last, *before.former)[:MOST_FORMER]
    return tuple(each for each in kept if now - each.until < FORMER_FOR)


def _kind(place: Place) -> Kind:
    return "secret" if place.kind == "secret" else "environment"
