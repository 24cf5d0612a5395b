"""`run`, `test`: automations tried on this machine, without Kafka and MongoDB."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from headrace.apps import load_apps
from headrace.cli.output import Failed, UsageError, one_line, print_json, print_located
from headrace.cli.timeline import not_fired, timeline
from headrace.cli.trial_input import read_event, read_stubs
from headrace.contracts.automation import DocumentError
from headrace.documents import Loaded, WrongFiles, load
from headrace.engine import StepCrashed
from headrace.engine.stub_answers import StubError
from headrace.settings import load_settings
from headrace.trials import (
    BadTrialEvent,
    CaseResult,
    NotFired,
    Trial,
    Tried,
    junit_xml,
    try_automation,
    try_case,
)

WELL = ("success", "stopped")
"""Ends of a run that are no failure."""


def run(
    file: Annotated[Path, typer.Argument(help="The automation: a YAML or JSON file that holds one.")],
    event: Annotated[str, typer.Option("--event", "-e", help="Its event: JSON, a file of it, or - for stdin.")],
    stub: Annotated[
        list[str] | None, typer.Option("--stub", help="step=JSON: the step's outputs, instead of doing it. Repeatable.")
    ] = None,
    allow_effects: Annotated[bool, typer.Option("--allow-effects", help="Really call others.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run record and the rest as JSON.")] = False,
) -> None:
    """Run one automation on one event here and now, without Kafka and MongoDB; nothing outside is touched.

    The matcher and the engine are the real ones; rows stay in memory, events are only listed, delays pass at once.
    HEADRACE_APPS_FILE is read as by the services; its secrets are masked in what is printed.
    Exit codes: 0 the run ended success or stopped, or the event does not fire the automation; 1 any other end; 2 wrong
    usage, or a document, event or stub that cannot be used.
    """
    loaded = _only(_loaded([file]), file)
    settings = load_settings()
    trial = Trial(
        read_event(event),
        read_stubs(stub or []),
        allow_effects,
        allow_effects and settings.allow_private_hosts,
        load_apps(settings),
        settings.max_iterations,
    )
    try:
        tried = try_automation(loaded.automation, trial, datetime.now(UTC))
    except (BadTrialEvent, StubError) as error:
        raise UsageError(str(error)) from None
    except StepCrashed as error:
        raise Failed(error.message) from error
    if as_json:
        print_json(_as_json(loaded, tried))
    elif isinstance(tried, NotFired):
        print(not_fired(loaded.automation, tried))
    else:
        print("\n".join(timeline(tried)))
    failed = tried.is_error if isinstance(tried, NotFired) else tried.record["status"] not in WELL
    raise typer.Exit(1 if failed else 0)


def run_cases(
    paths: Annotated[list[Path], typer.Argument(help="Files, or directories of them.")],
    named: Annotated[str, typer.Option("-k", help="Only cases whose automation or name holds this text.")] = "",
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")] = None,
) -> None:
    """Run the test cases (`tests:`) of automations, as `run` does. Nothing outside is touched.

    HEADRACE_APPS_FILE is read as by the services; its secrets are masked in what is printed.

    Exit codes: 0 all passed, 1 some failed, 2 wrong usage or a document that is no automation.
    """
    loaded = _loaded(paths)
    settings = load_settings()
    apps = load_apps(settings)
    chosen = [
        (each, case)
        for each in loaded
        for case in each.automation.tests
        if named in f"{each.automation.id}: {case.name}"
    ]
    if junit is not None:
        _check_writable(junit)
    results: list[CaseResult] = []
    for each, case in chosen:
        result = try_case(each.automation, case, apps, settings.max_iterations)
        results.append(result)
        for line in _told(result):
            print(one_line(line))
    if junit is not None:
        junit.write_bytes(junit_xml(results))
    failed = sum(bool(each.differences) for each in results)
    without = sum(not each.automation.tests for each in loaded)
    told = f", {without} of {len(loaded)} automations without tests" if without else ""
    print(f"{len(results) - failed} passed, {failed} failed{told}")
    if named and not results:
        raise UsageError(f"no test case holds {named!r}")
    raise typer.Exit(1 if failed else 0)


def _check_writable(junit: Path) -> None:
    """Before the cases run, which may take long; what the file holds stays until they have."""
    try:
        with junit.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"--junit {junit}: it cannot be written ({error.strerror})") from None


def _told(result: CaseResult) -> Iterator[str]:
    yield f"{'FAIL' if result.differences else 'ok  '} {result.automation}: {result.case.name}"
    for difference in result.differences:
        yield f"       {difference.what}"
        yield f"         expected  {difference.expected}"
        yield f"         found     {difference.found}"


def _loaded(paths: list[Path]) -> list[Loaded]:
    try:
        return load(*paths)
    except WrongFiles as error:
        print_located(error)
        raise typer.Exit(2) from None
    except DocumentError as error:
        raise UsageError(str(error)) from None


def _only(loaded: list[Loaded], file: Path) -> Loaded:
    if len(loaded) > 1:
        names = ", ".join(each.automation.name for each in loaded)
        raise UsageError(f"{file} holds {len(loaded)} automations ({names}); `run` runs one")
    return loaded[0]


def _as_json(loaded: Loaded, tried: Tried | NotFired) -> dict[str, object]:
    automation = loaded.automation.id
    if isinstance(tried, NotFired):
        return {"automation": automation, "fired": False, "reason": tried.reason}
    return {
        "automation": automation,
        "fired": True,
        "record": tried.record,
        "published": [
            {
                "topic": each.topic,
                "key": None if each.key is None else each.key.decode(errors="replace"),
                "headers": {name: value.decode(errors="replace") for name, value in each.headers},
                "value": orjson.loads(each.value),
            }
            for each in tried.published
        ],
        "rows": [each._asdict() for each in tried.rows],
    }
