"""Bearer tokens of an OpenID Connect issuer: RFC 7519 (JWT), RFC 7517 (JWK), OpenID Connect Discovery 1.0.

Believed is what the configured issuer signed, for the configured audience, with a key that its own discovery document
leads to. Only asymmetric algorithms count: with HMAC, whoever knows the public key could sign (RFC 8725, §2.1).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import aiohttp
import jwt
import orjson
import structlog
from jwt.exceptions import InvalidTokenError, PyJWTError

from headrace.contracts.cloudevents import is_name
from headrace.contracts.roles import ALL_APPS, ROLES, Role
from headrace.settings import Settings, SettingsError
from services.gateway.caller import Caller
from services.gateway.problems import unauthorized, unavailable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

SKEW_S = 30
"""How far clocks may differ; with NTP it is milliseconds."""

KEYS_FOR_S = 3_600.0
"""How long fetched keys are used before they are asked for again, so that a key that the issuer took away ends."""

AGAIN_AFTER_S = 30.0
"""Between two questions to the issuer, whatever it answers: a stranger's tokens with made up key ids are no way to
flood it."""

WITHIN_S = 5.0
MOST_BYTES = 256 << 10
"""Of a document of the issuer's; a dozen keys have some 20 KB."""

MOST_KEYS = 100
MOST_ROLES = 1_000
_MOST_NAME = 256


class PublicKey(NamedTuple):
    """A key of the issuer's, and the algorithms for which it may be used."""

    key: Any
    algorithms: tuple[str, ...]


class Tokens:
    """Recognises tokens. Belongs to one event loop; `clock` answers seconds, and only ages keys."""

    def __init__(
        self, issuer: str, audience: str, roles_claim: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._claim = roles_claim
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._failure = ""
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def caller(self, text: str) -> Caller:
        """Whose token it is; raises Problem 401 that says what is wrong with it, 503 while the issuer cannot be
        asked."""
        try:
            head = jwt.get_unverified_header(text)
        except PyJWTError:
            raise unauthorized("this is neither an API key nor a token (JWT)") from None
        if head.get("alg") not in ALGORITHMS:
            raise unauthorized(f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
        key = await self._key(head.get("kid"))
        try:
            claims = jwt.decode(
                text,
                key.key,
                algorithms=list(key.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=SKEW_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (InvalidTokenError, PyJWTError, ValueError, TypeError) as error:
            raise unauthorized(_why(error)) from None
        return self._caller_of(claims)

    async def close(self) -> None:
        """Ends the connections to the issuer."""
        if self._session is not None:
            await self._session.close()

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        subject = str(claims["sub"])
        if not 0 < len(subject) <= _MOST_NAME or not subject.isprintable():
            raise unauthorized(f"the token's `sub` is not 1 to {_MOST_NAME} printable characters")
        name = next((claims[each] for each in ("email", "preferred_username", "name") if each in claims), subject)
        shown = name if isinstance(name, str) and len(name) <= _MOST_NAME and name.isprintable() else subject
        return Caller(subject, shown, scopes_of(claims, self._claim), "oidc")

    async def _key(self, id: object) -> PublicKey:
        name = id if isinstance(id, str) else ""
        if not self._is_fresh() or name not in self._keys:
            async with self._lock:
                if not self._is_fresh() or name not in self._keys:
                    await self._ask()
        if name in self._keys:
            return self._keys[name]
        if self._fetched_at is None:
            raise unavailable(f"the issuer of tokens cannot be asked: {self._failure}")
        raise unauthorized("the token is signed with a key that its issuer does not have")

    def _is_fresh(self) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at < KEYS_FOR_S

    async def _ask(self) -> None:
        """Fetches the keys, unless that was just done. A failure leaves those that are known in use."""
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < AGAIN_AFTER_S:
            return
        self._asked_at = now
        try:
            async with asyncio.timeout(WITHIN_S):
                self._keys = await self._fetch()
            self._fetched_at, self._failure = now, ""
        except (aiohttp.ClientError, TimeoutError, ValueError, PyJWTError) as error:
            self._failure = str(error) or type(error).__name__
            structlog.get_logger().error("the issuer of tokens cannot be asked", reason=self._failure)

    async def _fetch(self) -> dict[str, PublicKey]:
        found = await self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise ValueError(f"its discovery document is of another issuer than HEADRACE_OIDC_ISSUER ({self._issuer})")
        uri = found.get("jwks_uri")
        if not isinstance(uri, str) or not uri.startswith(("https://", "http://")):
            raise ValueError("its discovery document has no jwks_uri")
        if self._issuer.startswith("https://") and not uri.startswith("https://"):
            raise ValueError("its jwks_uri is not https")
        keys = (await self._get(uri)).get("keys")
        if not isinstance(keys, list):
            raise ValueError("its key set has no keys")
        return dict(_usable(cast("Sequence[object]", keys)[:MOST_KEYS]))

    async def _get(self, url: str) -> Mapping[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Accept": "application/json"})
        async with self._session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"{url} answered {answer.status}")
            body = await answer.content.read(MOST_BYTES + 1)
            while len(body) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES + 1 - len(body))):
                body += more
        found = orjson.loads(body) if len(body) <= MOST_BYTES else None
        if not isinstance(found, dict):
            raise ValueError(f"{url} answered no JSON object of at most {MOST_BYTES} bytes")
        return cast("Mapping[str, Any]", found)


def load_tokens(settings: Settings) -> Tokens | None:
    """The tokens that settings believe; None where no issuer is set. Raises SettingsError."""
    issuer, audience = settings.oidc_issuer, settings.oidc_audience
    if issuer is None:
        return None
    if audience is None:
        raise SettingsError("HEADRACE_OIDC_AUDIENCE: must be given with HEADRACE_OIDC_ISSUER: whom its tokens are for")
    return Tokens(issuer, audience, settings.oidc_roles_claim)


def scopes_of(claims: Mapping[str, Any], claim: str) -> dict[str, Role]:
    """The role by app that a claim says: `{"shop": "editor"}`, or a list of `shop:editor`; `*` is every app. A claim
    that is not there under its whole name is looked for as a path (`realm_access.roles`). What is no role of ours is
    passed over: such claims hold other programs' roles too."""
    found: object = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = cast("Mapping[str, object]", found).get(part) if isinstance(found, Mapping) else None
    scopes: dict[str, Role] = {}
    for app, role in _pairs(found):
        if role in ROLES and (app == ALL_APPS or is_name(app)):
            # Of two roles in one app the higher one.
            scopes[app] = ROLES[max(ROLES.index(scopes.get(app, ROLES[0])), ROLES.index(cast(Role, role)))]
    return scopes


def _pairs(found: object) -> list[tuple[str, object]]:
    if isinstance(found, Mapping):
        return list(cast("Mapping[str, object]", found).items())[:MOST_ROLES]
    if isinstance(found, str):
        found = found.split()
    if not isinstance(found, list):
        return []
    texts = [each for each in cast("list[object]", found)[:MOST_ROLES] if isinstance(each, str)]
    return [(app, role) for app, _, role in (each.rpartition(":") for each in texts)]


def _usable(keys: Sequence[object]) -> list[tuple[str, PublicKey]]:
    """The keys that verify signatures. One that is not understood is of another algorithm, and left out."""
    usable: list[tuple[str, PublicKey]] = []
    for each in keys:
        if not isinstance(each, dict):
            continue
        given = cast("dict[str, Any]", each)
        if given.get("use", "sig") != "sig" or given.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            key = jwt.PyJWK(given)
        except (PyJWTError, ValueError, TypeError):
            continue
        # A key that names its algorithm is for that one alone; else each checks that the key is of its kind.
        algorithms = (given["alg"],) if "alg" in given else ALGORITHMS
        if key.algorithm_name in ALGORITHMS:
            usable.append((str(given.get("kid", "")), PublicKey(key.key, algorithms)))
    return usable


def _why(error: Exception) -> str:
    """In our words: the library's may quote the token's claims."""
    named = {
        jwt.ExpiredSignatureError: "the token has expired",
        jwt.ImmatureSignatureError: "the token is not valid yet",
        jwt.InvalidAudienceError: "the token is for another audience",
        jwt.InvalidIssuerError: "the token is of another issuer",
        jwt.MissingRequiredClaimError: "the token lacks one of exp, iss, aud, sub",
    }
    return next((told for kind, told in named.items() if isinstance(error, kind)), "the token is not valid")
