"""`make demo`, as a newcomer runs it."""

import os
import signal
import subprocess
from pathlib import Path

import orjson
import psutil
import pytest
from conftest import DEADLINE_S, until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DEMO_S = 300.0
"""It takes half a minute; CI machines may be ten times slower."""


def _environment(state: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI")}
    return {**kept, "HEADRACE_STATE_DIR": str(state)}


def _processes(state: Path) -> list[psutil.Process]:
    """Those that were started for this state directory, by their arguments or environment."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if str(state) in " ".join(process.cmdline()) or str(state) in process.environ().get(
                "HEADRACE_STATE_DIR", ""
            ):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def test_the_demo_loses_nothing_and_executes_nothing_twice(tmp_path: Path) -> None:
    command = ["make", "demo", "ARGS=--json"]
    done = subprocess.run(command, cwd=ROOT, env=_environment(tmp_path), capture_output=True, text=True, timeout=DEMO_S)
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(done.stdout.strip().splitlines()[-1])
    assert (result["events"], result["duplicates_sent"]) == (27_004, 2_701)
    assert result["runs"] == result["expected"] == 29_867
    assert (result["lost"], result["unexpected"], result["executed_twice"]) == (0, 0, 0)
    assert result["duplicates_dropped"] > 0
    assert result["duplicates_collapsed"] > 0
    assert result["duplicates_dropped"] + result["duplicates_collapsed"] == result["jobs"] - result["runs"]
    assert result["runs_per_s"] > 0
    assert set(result["latency_ms"]) == {"p50", "p99"}
    assert _processes(tmp_path) == []


@pytest.mark.parametrize(("part", "program"), [("Kafka", "kafka.Kafka"), ("MongoDB", "mongod")])
def test_what_dies_while_the_services_start_is_named_and_not_they(tmp_path: Path, part: str, program: str) -> None:
    command = [str(ROOT / ".venv/bin/headrace"), "up"]
    with subprocess.Popen(
        command, cwd=ROOT, env=_environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as up:
        until(lambda: any(tmp_path.rglob("trigger_matcher-0.log")), "the services to start")
        (found,) = [each for each in _processes(tmp_path) if _runs(each, program)]
        found.kill()
        assert up.wait(DEADLINE_S) == 1
        said = up.stderr.read() if up.stderr else ""
    # Kafka's client may say something of its own before.
    (sentence,) = [line for line in said.splitlines() if line.startswith("headrace: ")]
    assert sentence.startswith(f"headrace: {part} ended with code -9")
    assert "Traceback" not in said
    assert _processes(tmp_path) == []


def _runs(process: psutil.Process, program: str) -> bool:
    return any(argument == program or argument.endswith(f"/{program}") for argument in process.cmdline())


@pytest.mark.parametrize("sign", ["mongodb", "orchestrator-0.log"])
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, sign: str) -> None:
    command = [str(ROOT / ".venv/bin/headrace"), "demo"]
    with subprocess.Popen(
        command, cwd=ROOT, env=_environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as demo:
        until(lambda: any(tmp_path.rglob(sign)), f"{sign} to appear")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(DEADLINE_S) == 130
        assert "Traceback" not in (demo.stderr.read() if demo.stderr else "")
    assert _processes(tmp_path) == []
