"""The `headrace` command."""

import os
import signal
import sys

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended: 128 and the signal's number."""


def main() -> None:
    """The console script."""
    # Loading takes half a second, in which there is nothing to be stopped in order, and a traceback helps nobody.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    from headrace.cli.app import main as run

    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
