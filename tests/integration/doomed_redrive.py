"""`headrace` in a process of its own, for test_redrive_kill: it ends itself with SIGKILL at its n-th batch, which is
then produced and not marked (`before`), or marked and not ended (`after`)."""

# What is replaced here is replaced by what its types don't know.
# pyright: reportAttributeAccessIssue=false

import os
import signal
import sys
from typing import Any

from headrace.cli import main
from headrace.storage import DeadLetterStore

number, when = int(sys.argv[1]), sys.argv[2]
sys.argv = ["headrace", *sys.argv[3:]]
mark = DeadLetterStore.mark
batches = 0


async def doomed(self: DeadLetterStore, *what: Any) -> int:
    global batches
    batches += 1
    if batches == number and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    marked = await mark(self, *what)
    if batches == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return marked


DeadLetterStore.mark = doomed
main()
