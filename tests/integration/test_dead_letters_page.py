"""docs/dead-letters.md: its commands, executed as they stand there."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import Installation
from dlq_support import letters

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs/dead-letters.md").read_text()


def test_the_commands_of_the_page_work_in_their_order(installation: Installation, tmp_path: Path) -> None:
    files = {block.split()[1]: block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.S)
    commands = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]
    assert {"list", "show", "redrive", "discard", "audit"} <= {word for command in commands for word in command}
    said: dict[str, str] = {}
    letter = ""
    for program, *arguments in commands:
        assert program == ".venv/bin/headrace"
        installation.await_quiet()
        if "LETTER" in arguments and not letter:
            (found,) = letters(installation)
            letter = found["letter"]
        given = [str(tmp_path / each) if each in files else each.replace("LETTER", letter) for each in arguments]
        done = installation.headrace(*given)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        said[" ".join(arguments)] = done.stdout
    assert said["dlq show LETTER --raw"] == '{"id":7,"parts":0}'
    assert "1 would be redriven" in said["dlq redrive --app shop --automation parts --dry-run"]
    assert letter in said["dlq list --state redriven"]
    (run,) = installation.runs("shop")
    assert (run["automation"], run["status"]) == ("parts", "success")
