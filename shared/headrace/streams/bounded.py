"""Calls that must not outlast their time, of a client that may forget its own time-outs."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")
_Call = tuple[Callable[[], object], Future[object]]


class Bounded:
    """Makes calls in a thread of its own, one at a time, and gives up the thread with a call that does not return.

    `send_offsets_to_transaction` was seen to wait for ever after a half-open connection, whatever its time-out.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] | None = None

    def __call__(self, call: Callable[[], _T], timeout_s: float) -> _T:
        """What `call` returns or raises; raises TimeoutError after `timeout_s`. Then `call` may still be under way, for
        good, and whatever it uses must not be used again."""
        if self._calls is None:
            self._calls = SimpleQueue()
            # A daemon: a call that never returns must not keep the process alive.
            threading.Thread(target=_serve, args=(self._calls,), name="bounded", daemon=True).start()
        done: Future[object] = Future()
        self._calls.put((call, done))
        try:
            return done.result(timeout_s)  # pyright: ignore[reportReturnType] - it is this call's own
        except TimeoutError:
            if not done.done():
                self._calls = None
            raise
        finally:
            # An error that was raised knows this frame, and the future the error: in this circle a producer would live
            # on until the collector comes, trying to initialise its transactions, and then fence its successor.
            del call, done

    def close(self) -> None:
        """Ends the thread."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _serve(calls: "SimpleQueue[_Call | None]") -> None:
    while (asked := calls.get()) is not None:
        call, done = asked
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is the caller's, and is raised there
            done.set_exception(error)
        # Until the next call nothing here may keep a producer alive.
        del asked, call, done
