"""Making loads' automations live as a user does: by the command line, in a process of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.chaos.loads import LOADS
from headrace.embedded import StackError

APPLY_TIMEOUT_S = 60.0
"""It takes 2 s."""


def make_live(directory: Path, loads: Sequence[str], server: str, environment: Mapping[str, str]) -> None:
    """Writes the loads' automations into `directory` and applies them; returns when every matcher has them.

    `server` is the recorder's address. With the services' `environment` the command finds the harness's own steps as
    the orchestrators do. Raises StackError with what the command said.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for load in loads:
        for document in LOADS[load].documents(server):
            (directory / f"{document['name']}.json").write_text(json.dumps(document, indent=1))
    argv = [sys.executable, "-m", "headrace.cli", "apply", "-f", str(directory)]
    done = subprocess.run(
        argv, env=dict(environment), timeout=APPLY_TIMEOUT_S, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError(f"the automations could not be applied: {done.stderr.strip()[-1000:]}")
