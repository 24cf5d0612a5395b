"""Holding back Ctrl-C for the moment in which a process exists and nobody has written it down yet."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]

_DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Generator[None, None, None]:
    """Signals whose handlers are Python functions are handled after the block instead of in it.

    A signal that ends this process at once still does (its children then end by themselves). Other threads than the
    main one are never interrupted, so nothing is done there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    replaced: dict[int, _Handler] = {}
    try:
        for number in _DEFERRED:
            handler = signal.getsignal(number)
            if callable(handler):
                replaced[number] = handler
                signal.signal(number, lambda caught, _frame: arrived.append(caught))
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(arrived):
            replaced[number](number, None)
