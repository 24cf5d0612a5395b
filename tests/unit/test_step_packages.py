"""Steps of other packages: found through their entry points, refused in words."""

from pathlib import Path

import pytest

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.engine import compile_plan
from headrace.engine.steps import OURS, STEPS, StepTable
from headrace.engine.steps.third_party import GROUP, StepPackageError, with_third_party

pytestmark = pytest.mark.unit

MODULE = """
from typing import ClassVar
from headrace.engine.steps.base import Inputs, PureStep

class Nothing(Inputs):
    pass

class Wave(PureStep):
    use = "{use}"
    inputs = Nothing
    outputs: ClassVar[dict[str, str]] = {{}}
    effect = "none"

    def bind(self, rendered):
        return lambda run: {{"success": True}}

wave = Wave()
number = 7
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path in which a test installs a package."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(package: Path, module: str, use: str, entry: str) -> None:
    (package / f"{module}.py").write_text(MODULE.format(use=use))
    info = package / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nwave = {entry}\n")


def test_an_installed_package_adds_its_step_and_automations_may_use_it(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(package, "acme_waves", "acme.wave", "acme_waves:wave")
    table = StepTable()
    assert set(table) == {*OURS, "acme.wave"}
    monkeypatch.setattr("headrace.engine.uses.STEPS", table)
    document = {"name": "a", "app": "b", "trigger": {"type": "event", "event": "x"}}
    plan = compile_plan(parse_automation({**document, "steps": [{"id": "w", "use": "acme.wave"}]}), 1)
    assert not plan.awaits
    with pytest.raises(DocumentError, match=r"did you mean `acme\.wave`"):
        compile_plan(parse_automation({**document, "steps": [{"id": "w", "use": "acme.wav"}]}), 1)


def test_a_name_that_exists_already_is_refused_and_both_are_named(package: Path) -> None:
    install(package, "acme_logs", "log", "acme_logs:wave")
    with pytest.raises(StepPackageError, match=r"acme_logs:wave of acme_logs.*step 'log' already"):
        len(StepTable())


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("acme_broken:no_such_name", r"cannot be imported \(AttributeError"),
        ("no_such_module:wave", r"cannot be imported \(ModuleNotFoundError"),
        ("acme_broken:number", r"is a int; expected an instance of a PureStep or an AwaitingStep"),
        ("acme_broken:Wave", r"is a ABCMeta; expected an instance"),
    ],
)
def test_a_broken_entry_is_told_with_its_package_and_the_way_out(package: Path, entry: str, told: str) -> None:
    install(package, "acme_broken", "acme.wave", entry)
    with pytest.raises(StepPackageError, match=told):
        len(StepTable())


def test_without_packages_the_table_is_ours() -> None:
    assert dict(STEPS) == dict(OURS) == with_third_party(OURS, [])
