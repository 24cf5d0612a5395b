"""Signatures: the right one is believed, whatever the body; anything else never is, and never breaks the parser."""

import hmac
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.automation import (
    GithubVerification,
    HmacVerification,
    StandardVerification,
    StripeVerification,
    TokenVerification,
    Verification,
)
from services.gateway.signatures import (
    GITHUB,
    MOST_SIGNATURES,
    STANDARD,
    STANDARD_ID,
    STANDARD_TIME,
    STRIPE,
    Misconfigured,
    Received,
    Unverified,
    verify,
)

pytestmark = pytest.mark.unit

NOW = 1_700_000_000
KEY = bytes(range(24))
SECRETS = {"A": "secret of A", "B": "secret of B", "W": "whsec_" + b64encode(KEY).decode(), "EMPTY": ""}

HEX = HmacVerification(scheme="hmac", secrets=("A", "B"), header="x-sign", prefix="sha256=")
BASE64 = HmacVerification(scheme="hmac", secrets=("A",), header="x-sign", encoding="base64")
GITHUB_ONE = GithubVerification(scheme="github", secrets=("A", "B"))
STRIPE_ONE = StripeVerification(scheme="stripe", secrets=("A", "B"))
STANDARD_ONE = StandardVerification(scheme="standard", secrets=("W",))
TOKEN = TokenVerification(scheme="token", secrets=("A", "B"))
ALL: list[Verification] = [HEX, BASE64, GITHUB_ONE, STRIPE_ONE, STANDARD_ONE, TOKEN]

NAMES = ["x-sign", "x-webhook-token", GITHUB, STRIPE, STANDARD, STANDARD_ID, STANDARD_TIME]


def mac(secret: str | bytes, signed: bytes) -> bytes:
    return hmac.new(secret if isinstance(secret, bytes) else secret.encode(), signed, sha256).digest()


def signed(scheme: Verification, body: bytes, secret: str = "secret of A", at: int = NOW) -> dict[str, str]:
    """What an honest sender sends: made by the schemes' documentation, not by what is tested."""
    match scheme:
        case HmacVerification(encoding="hex"):
            return {"x-sign": "sha256=" + mac(secret, body).hex()}
        case HmacVerification():
            return {"x-sign": b64encode(mac(secret, body)).decode()}
        case GithubVerification():
            return {GITHUB: "sha256=" + mac(secret, body).hex()}
        case StripeVerification():
            return {STRIPE: f"t={at},v1={mac(secret, b'%d.%b' % (at, body)).hex()}"}
        case StandardVerification():
            value = b64encode(mac(KEY, b"msg_1.%d.%b" % (at, body))).decode()
            return {STANDARD_ID: "msg_1", STANDARD_TIME: str(at), STANDARD: f"v1,{value}"}
        case TokenVerification():
            return {"x-webhook-token": secret}


@pytest.mark.parametrize("scheme", ALL, ids=lambda each: each.scheme)
@given(body=st.binary(max_size=200))
def test_what_the_sender_signed_is_believed(scheme: Verification, body: bytes) -> None:
    verify(scheme, SECRETS, Received(signed(scheme, body), body, NOW))


@pytest.mark.parametrize("scheme", [each for each in ALL if each is not TOKEN], ids=lambda each: each.scheme)
@given(body=st.binary(max_size=200), other=st.binary(max_size=200))
def test_no_other_body_goes_with_a_signature(scheme: Verification, body: bytes, other: bytes) -> None:
    if body != other:
        with pytest.raises(Unverified):
            verify(scheme, SECRETS, Received(signed(scheme, body), other, NOW))


_PARTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["t=", "v1=", "v1,", "sha256=", ",", " ", "=", str(NOW), "0" * 64, "A" * 43 + "=", "٣" * 10]),
)


@pytest.mark.parametrize("scheme", ALL, ids=lambda each: each.scheme)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), st.lists(_PARTS, max_size=6).map("".join)),
    body=st.binary(max_size=50),
)
def test_no_header_that_a_stranger_makes_up_is_believed_or_breaks_the_parser(
    scheme: Verification, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(Unverified) as refused:
        verify(scheme, SECRETS, Received(headers, body, NOW))
    assert refused.value.header in NAMES
    assert "secret of" not in str(refused.value)


@pytest.mark.parametrize("scheme", [HEX, GITHUB_ONE, STRIPE_ONE, TOKEN], ids=lambda each: each.scheme)
def test_the_holder_of_either_live_secret_is_believed(scheme: Verification) -> None:
    verify(scheme, SECRETS, Received(signed(scheme, b"x", "secret of B"), b"x", NOW))
    with pytest.raises(Unverified):
        verify(scheme, SECRETS, Received(signed(scheme, b"x", "secret of C"), b"x", NOW))
    # One that is not there yet, or no more, closes no door to the other.
    only_b = {"B": "secret of B"}
    verify(scheme, only_b, Received(signed(scheme, b"x", "secret of B"), b"x", NOW))
    with pytest.raises(Unverified):
        verify(scheme, only_b, Received(signed(scheme, b"x", "secret of A"), b"x", NOW))


@pytest.mark.parametrize("scheme", ALL, ids=lambda each: each.scheme)
def test_without_a_secret_nobody_is_believed_not_even_who_signs_with_nothing(scheme: Any) -> None:
    for secrets in ({}, {"A": "", "B": "", "W": ""}, {"W": "whsec_"}, {"W": "no prefix"}, {"W": "whsec_!"}):
        if scheme is not STANDARD_ONE and secrets.get("W"):
            continue
        with pytest.raises(Misconfigured) as refused:
            verify(scheme, secrets, Received(signed(scheme, b"x", ""), b"x", NOW))
        assert "no prefix" not in str(refused.value)


@pytest.mark.parametrize("scheme", [STRIPE_ONE, STANDARD_ONE], ids=lambda each: each.scheme)
@pytest.mark.parametrize(("late", "fits"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_is_good_for_its_time_only(scheme: Verification, late: int, fits: bool) -> None:
    received = Received(signed(scheme, b"x", at=NOW + late), b"x", NOW)
    if fits:
        verify(scheme, SECRETS, received)
    else:
        with pytest.raises(Unverified, match="more than 300 s from ours"):
            verify(scheme, SECRETS, received)


@pytest.mark.parametrize(
    "header", ["t=1,t=2,v1={}", "v1={}", f"t={NOW}", "t=-1,v1={}", f"t={'9' * 13},v1={{}}", "t=1_0,v1={}", "t=,v1={}"]
)
def test_a_stripe_header_has_one_time(header: str) -> None:
    with pytest.raises(Unverified):
        verify(STRIPE_ONE, SECRETS, Received({STRIPE: header.format("0" * 64)}, b"x", NOW))


def test_no_more_signatures_are_looked_at_than_a_sender_may_need() -> None:
    good = signed(STANDARD_ONE, b"x")
    wrong = " ".join(["v1," + b64encode(bytes(32)).decode()] * MOST_SIGNATURES)
    verify(STANDARD_ONE, SECRETS, Received({**good, STANDARD: f"{good[STANDARD]} {wrong}"}, b"x", NOW))
    with pytest.raises(Unverified):
        verify(STANDARD_ONE, SECRETS, Received({**good, STANDARD: f"{wrong} {good[STANDARD]}"}, b"x", NOW))


@pytest.mark.parametrize(
    ("scheme", "headers", "body", "id"),
    [
        (GITHUB_ONE, {"x-github-delivery": "d-1"}, b"{}", "d-1"),
        (GITHUB_ONE, {}, b"{}", ""),
        (STRIPE_ONE, {}, b'{"id": "evt_1"}', "evt_1"),
        (STRIPE_ONE, {}, b'{"id": 1}', ""),
        (STRIPE_ONE, {}, b"[1]", ""),
        (STRIPE_ONE, {}, b"no json", ""),
        (STANDARD_ONE, {}, b"{}", "msg_1"),
        (HEX, {"x-github-delivery": "d-1"}, b"{}", ""),
    ],
)
def test_the_deliverys_id_is_where_its_scheme_has_it(
    scheme: Verification, headers: dict[str, str], body: bytes, id: str
) -> None:
    assert verify(scheme, SECRETS, Received({**signed(scheme, body), **headers}, body, NOW)) == id
