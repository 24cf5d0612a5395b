"""The example package of steps, as an author has it installed."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[2] / "examples" / "steps"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package is installed: on the path, with the metadata that its build would write."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"acme_steps-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, names in project["entry-points"].items()
        for name, value in names.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    return {**os.environ, "PYTHONPATH": f"{EXAMPLE}:{tmp_path}"}


def headrace(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).parent / "headrace"), *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def automation(tmp_path: Path) -> str:
    """The automation that its README shows, in a file."""
    _, _, rest = (EXAMPLE / "README.md").read_text().partition("```yaml\n")
    path = tmp_path / "score-delays.yaml"
    path.write_text(rest.partition("```")[0])
    return str(path)


def test_the_cases_of_the_example_pass_where_the_package_is_installed(
    installed: dict[str, str], automation: str
) -> None:
    done = headrace(installed, "test", automation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2" in done.stdout


def test_without_the_package_the_step_is_unknown(installed: dict[str, str], automation: str) -> None:
    done = headrace({**installed, "PYTHONPATH": ""}, "test", automation)
    assert done.returncode == 2
    assert "unknown step 'acme.score'" in done.stdout + done.stderr
