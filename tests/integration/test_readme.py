"""The README's commands, executed as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEADLINE_S, Installation

from headrace.embedded.supervisor import settings_environment

pytestmark = pytest.mark.integration

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_commands_of_the_readme_work_in_their_order(installation: Installation) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", README, re.S)
    commands = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]
    assert len(commands) >= 8
    for program, *arguments in commands:
        assert program == ".venv/bin/headrace"
        done = installation.headrace(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert done.stdout.strip()
    assert [run["automation"] for run in installation.runs("airport")] == ["rebooking-desk"]


def test_the_python_of_the_readme_publishes_an_event_that_makes_a_run(installation: Installation) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert installation.headrace("apply", "-f", "examples/flights").returncode == 0
    environment = {**os.environ, **{k: v for k, v in settings_environment(installation.settings).items() if v}}
    # The SDK takes the prefix as an argument; the reader's installation has the default one.
    code = code.replace('app="airport"', f'app="airport", prefix="{installation.settings.prefix}"')
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=DEADLINE_S)
    (run,) = installation.runs("airport")
    assert (run["automation"], run["status"]) == ("rebooking-desk", "success")
    assert installation.ask(lambda storage: storage.rows.count("airport", "rebookings")) == 1
