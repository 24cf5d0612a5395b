"""Whether a request was sent by whom it should be: the schemes that senders use, over the body's bytes as they came."""

import hmac
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, cast

import orjson

from headrace.contracts.automation import (
    GithubVerification,
    HmacVerification,
    StandardVerification,
    StripeVerification,
    TokenVerification,
    Verification,
)
from headrace.engine.steps.http_masks import WEBHOOK_SECRET
from headrace.engine.steps.webhook import signatures

GITHUB, GITHUB_DELIVERY = "x-hub-signature-256", "x-github-delivery"
STRIPE = "stripe-signature"
STANDARD_ID, STANDARD_TIME, STANDARD = "webhook-id", "webhook-timestamp", "webhook-signature"

SIGNATURE_HEADERS = frozenset({"x-hub-signature", GITHUB, STRIPE, STANDARD})
"""Kept from records whatever the scheme: who has one and the body can send both again."""

MOST_SIGNATURES = 16
"""Signatures in one header that are looked at; a sender that rotates its secret sends two."""

_MOST_DIGITS = 12
"""Of a time in seconds: beyond, it is the year 33658."""


class Unverified(Exception):
    """The request is not, or not provably, from its sender. `header` is the one that says so."""

    def __init__(self, header: str, message: str) -> None:
        super().__init__(f"header {header}: {message}")
        self.header = header
        self.message = message


class Misconfigured(Exception):
    """The installation cannot check the signature; the message names no secret's value."""


class Received(NamedTuple):
    """What is checked: `headers` have lower-case names; `now` is in seconds since 1970."""

    headers: Mapping[str, str]
    body: bytes
    now: float


def verify(scheme: Verification, secrets: Mapping[str, str], received: Received) -> str:
    """Checks the request with the app's `secrets`; answers the delivery's id if the scheme has one, else "".

    Every live secret is tried whichever fits, and digests are compared in constant time. Raises Unverified,
    Misconfigured.
    """
    live = [secrets[name] for name in scheme.secrets if secrets.get(name)]
    if not live:
        raise Misconfigured(
            f"the app has no secret {' or '.join(scheme.secrets)} (`headrace secrets set`, or HEADRACE_APPS_FILE)"
        )
    match scheme:
        case HmacVerification():
            _hmac(scheme, live, received)
            return ""
        case TokenVerification():
            _token(scheme, live, received)
            return ""
        case GithubVerification():
            given = _hex(GITHUB, _behind("sha256=", GITHUB, _header(received, GITHUB)))
            _refuse_unless(GITHUB, _fits([given], _digests(live, received.body)))
            return received.headers.get(GITHUB_DELIVERY, "")
        case StripeVerification():
            return _stripe(scheme, live, received)
        case StandardVerification():
            return _standard(scheme, live, received)


def _hmac(scheme: HmacVerification, live: Sequence[str], received: Received) -> None:
    text = _behind(scheme.prefix, scheme.header, _header(received, scheme.header))
    given = _hex(scheme.header, text) if scheme.encoding == "hex" else _base64(scheme.header, text)
    _refuse_unless(scheme.header, _fits([given], _digests(live, received.body)))


def _token(scheme: TokenVerification, live: Sequence[str], received: Received) -> None:
    given = _behind(scheme.prefix, scheme.header, _header(received, scheme.header))
    # Their digests: texts of different lengths would be told apart by time.
    expected = [sha256(each.encode()).digest() for each in live]
    if not _fits([sha256(given.encode()).digest()], expected):
        raise Unverified(scheme.header, "this is not the token")


def _stripe(scheme: StripeVerification, live: Sequence[str], received: Received) -> str:
    """https://docs.stripe.com/webhooks#verify-manually"""
    times: list[str] = []
    given: list[bytes] = []
    for part in _header(received, STRIPE).split(",", MOST_SIGNATURES)[:MOST_SIGNATURES]:
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1":
            given.append(_hex(STRIPE, value))
    if len(times) != 1 or not given:
        raise Unverified(STRIPE, "expected t=…,v1=…")
    at = _time(STRIPE, times[0])
    _refuse_unless(STRIPE, _fits(given, _digests(live, b"%b.%b" % (times[0].encode(), received.body))))
    _refuse_unless_near(STRIPE, at, scheme.tolerance, received.now)
    return _stripe_id(received.body)


def _stripe_id(body: bytes) -> str:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""  # whoever reads the body says so
    id = cast("Mapping[str, object]", event).get("id") if isinstance(event, dict) else None
    return id if isinstance(id, str) else ""


def _standard(scheme: StandardVerification, live: Sequence[str], received: Received) -> str:
    """Standard Webhooks 1.0.0, "Signature scheme"."""
    id, time = _header(received, STANDARD_ID), _header(received, STANDARD_TIME)
    at = _time(STANDARD_TIME, time)
    given = [
        _base64(STANDARD, each.removeprefix("v1,"))
        for each in _header(received, STANDARD).split(" ", MOST_SIGNATURES)[:MOST_SIGNATURES]
        if each.startswith("v1,")
    ]
    if not given:
        raise Unverified(STANDARD, "expected v1,…")
    keys = [_standard_key(each) for each in live]
    expected = [b64decode(each.removeprefix("v1,")) for each in signatures(keys, id, at, received.body).split(" ")]
    _refuse_unless(STANDARD, _fits(given, expected))
    _refuse_unless_near(STANDARD_TIME, at, scheme.tolerance, received.now)
    return id


def _standard_key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True)
    except ValueError:
        key = b""
    if not key or not secret.startswith(WEBHOOK_SECRET):
        raise Misconfigured(f"a secret of Standard Webhooks begins with {WEBHOOK_SECRET}, and goes on in Base64")
    return key


def _digests(live: Sequence[str], signed: bytes) -> list[bytes]:
    return [hmac.digest(each.encode(), signed, sha256) for each in live]


def _fits(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Whether one of these is one of those, compared whatever came of the others."""
    found = False
    for each in given:
        for other in expected:
            found |= hmac.compare_digest(each, other)
    return found


def _refuse_unless(header: str, fits: bool) -> None:
    if not fits:
        raise Unverified(header, "the signature is not that of this body under any of the live secrets")


def _refuse_unless_near(header: str, at: int, tolerance: float, now: float) -> None:
    if abs(now - at) > tolerance:
        raise Unverified(header, f"its time is more than {tolerance:.0f} s from ours")


def _header(received: Received, name: str) -> str:
    found = received.headers.get(name, "")
    if not found:
        raise Unverified(name, "it is missing")
    return found


def _behind(prefix: str, header: str, text: str) -> str:
    if not text.startswith(prefix):
        raise Unverified(header, f"expected it to begin with {prefix!r}")
    return text.removeprefix(prefix)


def _hex(header: str, text: str) -> bytes:
    try:
        # As short as a digest: bytes.fromhex itself takes blanks between.
        found = bytes.fromhex(text) if len(text) == 2 * sha256().digest_size else b""
    except ValueError:
        found = b""
    return _of_digest_size(header, found, "hexadecimal digits")


def _base64(header: str, text: str) -> bytes:
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        found = b""
    return _of_digest_size(header, found, "characters of Base64")


def _of_digest_size(header: str, found: bytes, what: str) -> bytes:
    if len(found) != sha256().digest_size:
        raise Unverified(header, f"expected the {what} of 32 bytes")
    return found


def _time(header: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise Unverified(header, "expected a time in seconds since 1970")
    return int(text)
