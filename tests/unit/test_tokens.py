"""The cache of access tokens."""

import asyncio

import pytest

from headrace.engine.web.tokens import MAX_TOKENS, Token, TokenCache

pytestmark = pytest.mark.unit


class Fetches:
    """Counts, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.count = 0
        self._failures = failures

    async def __call__(self) -> Token:
        self.count += 1
        await asyncio.sleep(0)
        if self.count <= self._failures:
            raise ConnectionError
        return Token(f"token-{self.count}", 3600)


def still() -> float:
    return 0.0


async def test_a_failed_fetch_is_its_callers_alone_and_the_next_one_fetches_again() -> None:
    cache, fetches = TokenCache(), Fetches(failures=1)
    asked = [cache.get("k", still, fetches) for _ in range(3)]
    first, *others = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(first, ConnectionError)
    assert others == ["token-2", "token-2"]


async def test_who_is_cut_off_while_it_fetches_leaves_the_way_free() -> None:
    cache, fetches = TokenCache(), Fetches()
    cut_off = asyncio.create_task(cache.get("k", still, fetches))
    waiting = asyncio.create_task(cache.get("k", still, fetches))
    await asyncio.sleep(0)
    cut_off.cancel()
    assert await waiting == "token-2"


async def test_the_least_recently_used_token_gives_way() -> None:
    cache, fetches = TokenCache(), Fetches()
    for number in range(MAX_TOKENS):
        await cache.get(str(number), still, fetches)
    await cache.get("0", still, fetches)
    await cache.get("one more", still, fetches)
    before = fetches.count
    await cache.get("0", still, fetches)
    assert fetches.count == before
    await cache.get("1", still, fetches)
    assert fetches.count == before + 1
