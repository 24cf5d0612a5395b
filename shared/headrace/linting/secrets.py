"""Credentials in plain text. What is found is never quoted."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from headrace.contracts.automation import Automation
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import texts_in

_NAMES = ("password", "passwd", "secret", "token", "apikey", "authorization", "privatekey", "accesskey", "credentials")
"""Endings of names whose values are credentials, without - and _."""

_NO_CREDENTIAL_OF_AUTH = frozenset(
    ("type", "username", "name", "in", "client_id", "token_url", "url", "scope", "scopes")
)
"""Parts of an `auth` that may be known to all."""

_SHAPES: Mapping[str, re.Pattern[str]] = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"),
    "a token of GitHub": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})"),
    "a token of GitLab": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a token of Slack": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a webhook of Slack": re.compile(r"hooks\.slack\.com/(services|workflows)/[A-Za-z0-9/]{20,}"),
    "a key of AWS": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a key of Google": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "a key of Stripe": re.compile(r"\b[rs]k_(live|test)_[A-Za-z0-9]{16,}"),
    "a key of an LLM provider": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^/\s:@{}]{0,200}:[^/\s:@{}]{1,200}@"),
    "a credential in an address": re.compile(
        r"[?&](access_token|api_?key|apikey|auth|key|password|secret|sig|signature|token)=[^&\s{}]{8,}", re.IGNORECASE
    ),
}
"""What credentials look like, whatever they are called; each pattern takes linear time."""

_REMEDY = "take it from {{ secrets.NAME }}, and make it invalid where it was issued: the file may have been read"


def plain_secrets(automation: Automation) -> Iterator[Finding]:
    """Constants under a credential's name in the steps, and anywhere what has a known credential's shape."""
    document = automation.model_dump(by_alias=True, exclude_unset=True)
    named = dict(_named(document.get("steps"), "steps", in_auth=False))
    for path, text in texts_in(document, ""):
        at = path.removeprefix(".")
        what = named.pop(at, None) or next((what for what, shape in _SHAPES.items() if shape.search(text)), None)
        if what is not None:
            severity, told = RULES["plain-secret"].severity, f"it holds {what} in plain text"
            yield Finding("plain-secret", severity, automation.id, at, told, _REMEDY)


def _named(value: object, path: str, *, in_auth: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[object, object], value).items():
            at = f"{path}.{name}"
            if isinstance(item, str):
                if item.strip() and "{{" not in item and "{%" not in item and _is_credential(str(name), in_auth):
                    yield at, "a credential" if in_auth else f"a value called {str(name)[:40]!r}"
            else:
                yield from _named(item, at, in_auth=in_auth or name == "auth")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast(Sequence[object], value)):
            yield from _named(item, f"{path}.{number}", in_auth=in_auth)


def _is_credential(name: str, in_auth: bool) -> bool:
    if in_auth:
        return name not in _NO_CREDENTIAL_OF_AUTH
    return name.lower().replace("-", "").replace("_", "").endswith(_NAMES)
