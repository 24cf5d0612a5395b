"""Who asks, and what they may do: an API key or a token of an issuer, held to its rate."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from headrace.api_keys import PREFIX
from headrace.contracts.roles import ALL_APPS, Role, allows
from services.gateway.caller import Caller
from services.gateway.known_keys import KnownKeys
from services.gateway.problems import Problem, unauthorized
from services.gateway.rates import Rates
from services.gateway.tokens import Tokens


class Callers:
    """Recognises who asks. Belongs to one event loop."""

    def __init__(self, keys: KnownKeys, tokens: Tokens | None, rates: Rates) -> None:
        self._keys = keys
        self._tokens = tokens
        self.rates = rates

    async def caller(self, text: str) -> Caller | None:
        """Whose key or token it is; None if it opens nothing. Raises Problem 401 that says what is wrong with a token,
        503 and PlatformUnavailable."""
        if self._tokens is None or text.startswith(PREFIX):
            return await self._keys.caller(text)
        return await self._tokens.caller(text)

    def admit(self, caller: Caller, app: str) -> None:
        """Counts a request; raises Problem 429 for one too many."""
        self.rates.admit(caller.kind, caller.id)
        if app != ALL_APPS:
            self.rates.admit("app", app)

    async def close(self) -> None:
        """Ends what is under way."""
        await self._keys.close()
        if self._tokens is not None:
            await self._tokens.close()


BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="`Authorization: Bearer hr_…`, or a token of the issuer that the installation believes",
)

Identify = Callable[[Request, object], Awaitable[Caller]]


def requires(callers: Callers, role: Role, app: str | None = None) -> Identify:
    """A dependency that answers the caller, who has `role` in the app of the path, or in `app`.

    Raises Problem 401, 403 and 429, PlatformUnavailable.
    """

    async def identify(request: Request, _: Annotated[object, Depends(BEARER)]) -> Caller:
        found = await caller_of(callers, request)
        asked = app or str(request.path_params.get("app", ALL_APPS))
        if not allows(found.scopes, asked, role):
            where = "all apps" if asked == ALL_APPS else f"app {asked[:64]!r}"
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"{found.kind} {found.id} has not the role {role} of {where}, which this takes",
            )
        callers.admit(found, asked)
        return found

    return identify


async def admitted(callers: Callers, request: Request) -> Caller:
    """Whoever it is, counted; for what belongs to no app, or to several. Raises as `caller_of`, and Problem 429."""
    found = await caller_of(callers, request)
    callers.admit(found, ALL_APPS)
    return found


async def caller_of(callers: Callers, request: Request) -> Caller:
    """Whoever it is; raises Problem 401, PlatformUnavailable."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise unauthorized("an API key is needed: Authorization: Bearer hr_…; `headrace keys create` makes one")
    found = await callers.caller(text.strip())
    if found is None:
        # Not which of these: that would tell whoever tries ids out.
        raise unauthorized("this API key is unknown, expired or revoked")
    return found
