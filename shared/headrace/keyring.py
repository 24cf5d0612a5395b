"""The keys with which stored values of apps are sealed: AES-256-GCM (NIST SP 800-38D).

What a value belongs to (app, kind, name) is authenticated with it, so that one that was copied to another place in the
database opens nowhere. The first key seals; all of them open: a new key is put before the old ones, and the old ones
are taken away when nothing is sealed with them any more (`headrace secrets rotate`).
"""

import os
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.settings import Settings, SettingsError

KEY_BYTES = 32
NONCE_BYTES = 12
"""What GCM is made for; random ones are safe for 2^32 values under one key (SP 800-38D, §8.3)."""

MOST_KEYS = 10
"""More than a few are a rotation that nobody ended."""

SETTING, FILE_SETTING = "HEADRACE_SECRETS_KEYS", "HEADRACE_SECRETS_KEYS_FILE"

MAKE_ONE = "`openssl rand -base64 32` makes one"

_MOST_FILE = 4_096
"""Bytes: ten keys have 450."""


class Place(NamedTuple):
    """What a value belongs to."""

    app: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value as it is stored. `key` names the key, and says nothing of it; `data` is nonce, ciphertext and tag."""

    key: str
    data: bytes = field(repr=False)


class Unreadable(Exception):
    """A value that cannot be opened; the message names the setting, and no value."""


class NoKeys(Exception):
    """There is no key to seal with; the message names the setting."""


class Keyring:
    """Seals and opens. Immutable, and its repr shows no key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Expects keys of KEY_BYTES bytes, the one that seals first; none: it can do neither."""
        self._keys = {_id_of(key): AESGCM(key) for key in keys}
        self.newest = next(iter(self._keys), "")
        """The id of the key that seals; "" without keys."""

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def seal(self, place: Place, text: str) -> Sealed:
        """`text` for this place; raises NoKeys."""
        if not self._keys:
            raise NoKeys(f"no key to keep it with: set {SETTING} or {FILE_SETTING} for every service; {MAKE_ONE}")
        nonce = os.urandom(NONCE_BYTES)
        data = self._keys[self.newest].encrypt(nonce, text.encode(), _about(place))
        return Sealed(self.newest, nonce + data)

    def open(self, place: Place, sealed: Sealed) -> str:
        """What was sealed for this place; raises Unreadable."""
        key = self._keys.get(sealed.key)
        if key is None:
            raise Unreadable(f"{_named(place)}: {unknown_keys([sealed.key])}")
        try:
            return key.decrypt(sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:], _about(place)).decode()
        except (InvalidTag, ValueError):
            told = "what is stored was changed, or belongs to another name; set it again"
            raise Unreadable(f"{_named(place)}: {told}") from None


def unknown_keys(ids: Sequence[str]) -> str:
    """The sentence about keys by which something is sealed and which are not there."""
    which = f"key {ids[0]}" if len(ids) == 1 else f"keys {', '.join(ids)}"
    return (
        f"sealed with {which}, which {'is' if len(ids) == 1 else 'are'} not among those of {SETTING} (or "
        f"{FILE_SETTING}): add it behind the newest, for every service"
    )


def load_keyring(settings: Settings) -> Keyring:
    """The keys that are configured; none where neither setting is given. Raises SettingsError that quotes no key."""
    given, file = settings.secrets_keys, settings.secrets_keys_file
    if given is not None and file is not None:
        raise SettingsError(f"{SETTING} and {FILE_SETTING} are both set: one of them says which keys there are")
    if given is not None:
        return Keyring(_read(SETTING, given.get_secret_value()))
    if file is None:
        return Keyring(())
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_FILE + 1)
        text = content.decode("ascii")
    except OSError as error:
        raise SettingsError(f"{FILE_SETTING}: {file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        text = ""
    return Keyring(_read(f"{FILE_SETTING}: {file}", text if len(text) <= _MOST_FILE else ""))


def _read(where: str, text: str) -> list[bytes]:
    keys: list[bytes] = []
    for number, part in enumerate(re.split(r"[\s,]+", text.strip()), 1):
        try:
            key = b64decode(part, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise SettingsError(
                f"{where}: key {number} is not {KEY_BYTES} bytes in Base64; {MAKE_ONE}. Several stand in lines of "
                "their own or with commas between, the newest first"
            )
        keys.append(key)
    if len(keys) > MOST_KEYS:
        raise SettingsError(f"{where}: {len(keys)} keys; at most {MOST_KEYS} are taken")
    return keys


def _id_of(key: bytes) -> str:
    return sha256(b"headrace key id\0" + key).hexdigest()[:12]


def _about(place: Place) -> bytes:
    # As JSON: no other three names are written the same.
    return orjson.dumps(["headrace", 1, *place])


def _named(place: Place) -> str:
    return f"{place.kind} {place.name} of app {place.app}"
