"""The command line before it is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("module", ["confluent_kafka", "pydantic", "typer", "rich"])
@pytest.mark.parametrize("command", [["headrace"], ["python", "-m", "headrace.cli"]], ids=len)
def test_ctrl_c_while_it_is_loaded_ends_it_without_a_word(tmp_path: Path, command: list[str], module: str) -> None:
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    argv = [str(Path(sys.executable).parent / command[0]), *command[1:], "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_sdk_has_what_it_says_and_nothing_else() -> None:
    code = "import headrace\n[getattr(headrace, name) for name in headrace.__all__]\nheadrace.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "AttributeError: module 'headrace' has no attribute 'nothing'" in done.stderr
