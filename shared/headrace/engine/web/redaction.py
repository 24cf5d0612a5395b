"""The credentials of a call, looked for in whatever is kept of it: servers echo what they were sent."""

import re
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import quote, quote_plus

from headrace.engine.plain import MAX_DEPTH
from headrace.engine.web.urls import MASK

ANYWHERE = 8
"""Characters from which a credential is masked inside other text too. NIST SP 800-63B asks at least as many of a
password; a shorter one would hit parts of ordinary words."""

SHORTEST = 4
"""Characters from which a credential is masked where it stands as a word; shorter ones are all over any text."""


class Redaction:
    """Replaces credentials by MASK wherever they occur, as they are, percent-encoded, or escaped as in JSON."""

    __slots__ = ("_pattern", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = frozenset(secret for secret in secrets if len(secret) >= SHORTEST)
        forms = {form for secret in self._secrets for form in _forms(secret)}
        # The longest first: one credential may begin with another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(_matched, ordered))) if ordered else None

    def plus(self, secret: str) -> "Redaction":
        """One that masks `secret` too."""
        return Redaction((*self._secrets, secret))

    def text(self, text: str) -> str:
        """`text` without credentials."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def value(self, value: object) -> object:
        """A copy of `value` without credentials in any text or name of it, or `value` itself where there are none."""
        return value if self._pattern is None else self._copy(value, 0)

    def _copy(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self.text(value)
        # No record keeps what is nested deeper.
        if depth > MAX_DEPTH:
            return value
        if isinstance(value, Mapping):
            found = cast(Mapping[object, object], value)
            return {
                self.text(name) if isinstance(name, str) else name: self._copy(item, depth + 1)
                for name, item in found.items()
            }
        if isinstance(value, list | tuple):
            return [self._copy(item, depth + 1) for item in cast(Iterable[object], value)]
        return value


def _forms(secret: str) -> set[str]:
    raw = secret.encode(errors="replace")
    return {
        secret,
        quote(raw, safe=""),
        quote(raw, safe="/"),
        quote_plus(raw),
        secret.replace("\\", "\\\\").replace('"', '\\"'),
        secret.replace("/", "\\/"),
    }


def _matched(form: str) -> str:
    pattern = re.escape(form)
    return pattern if len(form) >= ANYWHERE else rf"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"
