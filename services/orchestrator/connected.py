"""The service with what its runs reach outside: connections end when it does."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from headrace.service import Loop, Service

Close = Callable[[], Awaitable[None]]


class ConnectedService:
    """`inner`, and afterwards every one of `closes`, in the service's loop."""

    def __init__(self, inner: Service, loop: Loop, closes: Sequence[Close]) -> None:
        self._inner = inner
        self._loop = loop
        self._closes = closes

    @property
    def ready(self) -> bool:
        """As the inner service says."""
        return self._inner.ready

    def stalled_s(self) -> float:
        """As the inner service says."""
        return self._inner.stalled_s()

    def run(self) -> None:
        """Runs until `stop`, and closes the connections; raises StreamFailed."""
        try:
            self._inner.run()
        finally:
            self._loop.run(self._close())

    def stop(self) -> None:
        """Asks `run` to drain and return."""
        self._inner.stop()

    async def _close(self) -> None:
        # One that raises must not leave the others open; what it raised is raised once all had their turn.
        async with AsyncExitStack() as left:
            for close in reversed(self._closes):
                left.push_async_callback(close)
