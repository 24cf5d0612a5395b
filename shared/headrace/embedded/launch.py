"""Becomes another program that dies with the process that started it: launch.py PARENT-PID PROGRAM ARG…

Linux sends PR_SET_PDEATHSIG's signal when the parent ends, however it ends (prctl(2)); it survives exec. Set here, in a
program of its own, because code between fork and exec is unsafe in a process with threads. SIGKILL, since a process
that may ignore or outlast its signal could stay; a broker, a mongod and a service all recover from it.
Elsewhere than on Linux there is no such call: there the pid files end what was left, at the next start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arranges the death signal, then executes the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
