"""Several streams in one process, which live and end together."""

import asyncio
from collections.abc import Sequence

from headrace.service import Loop, Service


class Together:
    """Each stream in a thread of its own, in the main one the event loop: all of them ask MongoDB by it."""

    def __init__(self, loop: Loop, streams: Sequence[Service]) -> None:
        self._loop = loop
        self._streams = streams

    @property
    def ready(self) -> bool:
        """Whether all take part in their groups."""
        return all(each.ready for each in self._streams)

    def stalled_s(self) -> float:
        """Seconds since the one that stands longest made progress."""
        return max(each.stalled_s() for each in self._streams)

    def run(self) -> None:
        """Runs until `stop`, or until one cannot go on; raises what ended that one."""
        self._loop.run(self._run())

    def stop(self) -> None:
        """Asks all to finish what is under way. Callable from a signal handler."""
        for each in self._streams:
            each.stop()

    async def _run(self) -> None:
        ended = await asyncio.gather(
            *(asyncio.to_thread(self._run_one, each) for each in self._streams), return_exceptions=True
        )
        for error in ended:
            if error is not None:
                raise error

    def _run_one(self, stream: Service) -> None:
        try:
            stream.run()
        finally:
            self.stop()
