"""Tokens of an issuer: what it signed for us is believed, and nothing that anybody else can make."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Generator
from typing import Any

import jwt
import orjson
import pytest
from oidc_support import AUDIENCE, Issuer, serving

from headrace.settings import SettingsError, load_settings
from services.gateway.problems import Problem
from services.gateway.tokens import AGAIN_AFTER_S, KEYS_FOR_S, SKEW_S, Tokens, load_tokens, scopes_of

pytestmark = pytest.mark.integration


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Generator[Issuer]:
    with serving() as found:
        found.add("one")
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(issuer: Issuer, clock: Clock) -> AsyncGenerator[Tokens]:
    found = Tokens(issuer.url, AUDIENCE, "headrace_roles", clock)
    yield found
    await found.close()


async def refused(tokens: Tokens, text: str, status: int = 401) -> str:
    with pytest.raises(Problem) as problem:
        await tokens.caller(text)
    assert problem.value.status == status, problem.value.detail
    return problem.value.detail


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "EdDSA"])
async def test_whom_the_issuer_names_is_believed_with_the_roles_it_says(
    tokens: Tokens, issuer: Issuer, algorithm: str
) -> None:
    issuer.add("two", algorithm)
    text = issuer.token("two", email="ann@example.org", headrace_roles=["shop:editor", "offline_access"])
    found = await tokens.caller(text)
    assert (found.by, found.scopes) == ("oidc u-1 (ann@example.org)", {"shop": "editor"})
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    await tokens.caller(text)
    assert len(issuer.asked) == 2


async def test_a_token_of_another_time_audience_or_issuer_opens_nothing(tokens: Tokens, issuer: Issuer) -> None:
    now = int(time.time())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"exp": now - SKEW_S - 5}, "expired"),
        ({"nbf": now + SKEW_S + 60}, "not valid yet"),
        ({"iat": now + SKEW_S + 60}, "not valid yet"),
        ({"aud": "another"}, "audience"),
        ({"iss": issuer.url + "/"}, "issuer"),
        *(({name: None}, "") for name in ("exp", "aud", "iss", "sub")),
        ({"sub": "a\nb"}, "printable"),
        ({"sub": "a" * 257}, "printable"),
        ({"sub": ""}, "printable"),
    ]
    for claims, told in wrong:
        assert told in await refused(tokens, issuer.token("one", **claims)), claims
    assert (await tokens.caller(issuer.token("one", exp=now - SKEW_S + 20))).id == "u-1"


async def test_a_token_that_a_stranger_made_opens_nothing(tokens: Tokens, issuer: Issuer) -> None:
    good = issuer.token("one", headrace_roles={"*": "admin"})
    head, body, signature = good.split(".")

    def part(value: object) -> str:
        return urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")

    stranger = Issuer(issuer.url)
    stranger.add("one")
    claims = jwt.decode(good, options={"verify_signature": False})
    # Signed with the public key as if it were an HMAC's secret, which libraries once took (RFC 8725, §2.1).
    confused_head = part({"alg": "HS256", "kid": "one", "typ": "JWT"})
    confused = hmac.digest(issuer.public_pem("one"), f"{confused_head}.{body}".encode(), "sha256")
    wrong = [
        stranger.token("one", headrace_roles={"*": "admin"}),
        f"{part({'alg': 'none', 'kid': 'one'})}.{body}.",
        f"{part({'alg': 'none', 'kid': 'one'})}.{body}.{signature}",
        f"{confused_head}.{body}.{urlsafe_b64encode(confused).decode().rstrip('=')}",
        f"{head}.{part({**claims, 'headrace_roles': {'*': 'admin'}, 'sub': 'root'})}.{signature}",
        # What a token brings along about its key is nobody's word.
        f"{part({'alg': 'RS256', 'kid': 'two', 'jku': issuer.url + '/mine', 'jwk': {}})}.{body}.{signature}",
        f"{head}.{body}",
        f"{head}.{body}.",
        "a.b.c",
        "..",
        "é.é.é",
        "x" * 20_000,
    ]
    for text in wrong:
        await refused(tokens, text)
    assert "/mine" not in issuer.asked
    assert (await tokens.caller(good)).scopes == {"*": "admin"}


async def test_a_key_is_for_the_algorithm_that_it_names(tokens: Tokens, issuer: Issuer) -> None:
    assert (await tokens.caller(issuer.token("one"))).id == "u-1"
    await refused(tokens, issuer.token("one", algorithm="RS512"))


async def test_a_key_that_names_none_is_for_those_of_its_kind(tokens: Tokens, issuer: Issuer) -> None:
    issuer.names_algorithms = False
    issuer.add("curve", "ES256")
    for algorithm in ("RS256", "RS512", "PS256"):
        assert (await tokens.caller(issuer.token("one", algorithm=algorithm))).id == "u-1"
    # The header names the curve's key for a signature of RSA's.
    await refused(tokens, issuer.token("curve", signed_by="one", algorithm="RS256"))


async def test_a_new_key_of_the_issuer_is_taken_up_and_strangers_do_not_make_us_flood_it(
    tokens: Tokens, issuer: Issuer, clock: Clock
) -> None:
    await tokens.caller(issuer.token("one"))
    issuer.add("two")
    for number in range(50):
        await refused(tokens, issuer.token(f"made-up-{number}", signed_by="one"))
    assert len(issuer.asked) == 2
    clock.now += AGAIN_AFTER_S
    assert (await tokens.caller(issuer.token("two"))).id == "u-1"
    assert len(issuer.asked) == 4
    # A key that is taken away ends.
    gone = issuer.token("one")
    del issuer.keys["one"]
    await tokens.caller(gone)
    clock.now += KEYS_FOR_S
    await refused(tokens, gone)


async def test_an_issuer_that_is_away_is_no_fault_of_the_caller_and_known_keys_stay_in_use(
    tokens: Tokens, issuer: Issuer, clock: Clock
) -> None:
    text = issuer.token("one")
    issuer.is_down = True
    assert "503" in await refused(tokens, text, 503)
    issuer.is_down = False
    clock.now += AGAIN_AFTER_S
    await tokens.caller(text)
    issuer.is_down = True
    clock.now += KEYS_FOR_S
    assert (await tokens.caller(text)).id == "u-1"


@pytest.mark.parametrize(
    "documents",
    [
        {"/.well-known/openid-configuration": {"issuer": "https://evil.example", "jwks_uri": "https://evil.example"}},
        {"/.well-known/openid-configuration": {"jwks_uri": 7}},
        {"/.well-known/openid-configuration": []},
        {"/keys": {"keys": "many"}},
        {"/keys": {"keys": [], "more": "x" * 300_000}},
    ],
)
async def test_what_an_issuer_answers_wrongly_is_told_and_believes_nobody(
    tokens: Tokens, issuer: Issuer, documents: dict[str, Any]
) -> None:
    issuer.documents = documents
    await refused(tokens, issuer.token("one"), 503)


async def test_keys_that_are_none_are_passed_over(tokens: Tokens, issuer: Issuer) -> None:
    keys = [*issuer.answer("/keys")["keys"]]
    shared = {"kty": "oct", "kid": "shared", "k": "AAAA", "alg": "HS256"}
    issuer.documents = {"/keys": {"keys": [7, {}, shared, {"kty": "RSA", "kid": "bad", "n": "!", "e": 1}, *keys]}}
    assert (await tokens.caller(issuer.token("one"))).id == "u-1"


@pytest.mark.parametrize(
    ("claims", "claim", "expected"),
    [
        ({"headrace_roles": {"shop": "editor", "bank": "root", "NO": "admin"}}, "headrace_roles", {"shop": "editor"}),
        ({"headrace_roles": "shop:viewer *:admin"}, "headrace_roles", {"shop": "viewer", "*": "admin"}),
        ({"roles": ["shop:viewer", "shop:editor", "shop:operator", 7]}, "roles", {"shop": "editor"}),
        ({"realm_access": {"roles": ["shop:admin"]}}, "realm_access.roles", {"shop": "admin"}),
        ({"https://x.example/roles": ["shop:admin"]}, "https://x.example/roles", {"shop": "admin"}),
        ({"headrace_roles": 7}, "headrace_roles", {}),
        ({}, "headrace_roles.x", {}),
        ({"headrace_roles": {"shop": ["admin"]}}, "headrace_roles", {}),
    ],
)
def test_roles_are_read_of_the_claim_in_each_of_its_forms(
    claims: dict[str, Any], claim: str, expected: dict[str, str]
) -> None:
    assert scopes_of(claims, claim) == expected


def test_an_issuer_without_an_audience_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_OIDC_AUDIENCE"):
        load_tokens(load_settings(oidc_issuer="https://login.example"))
    assert load_tokens(load_settings()) is None
