"""What the chaos tests share: a plan done on a stack of its own, and its violations in words."""

import os
from pathlib import Path

from headrace.chaos.harness import run_plan
from headrace.chaos.plan import Plan
from headrace.chaos.report import SeedReport
from headrace.settings import load_settings

SABOTAGE = Path(__file__).parent / "sabotage"


def do(plan: Plan, directory: Path, deadline_s: float, ways: tuple[str, ...] = ()) -> SeedReport:
    """Does a plan in `directory`, with so many seconds to come to rest, on a system sabotaged in these ways."""
    extra = {"PYTHONPATH": str(SABOTAGE), "HEADRACE_SABOTAGE": ",".join(ways)} if ways else {}
    return run_plan(plan, load_settings(), directory, extra=extra, deadline_s=deadline_s)


def told(report: SeedReport) -> str:
    """All violations of a report, for the message of a failed assertion."""
    lines = [f"seed {report.seed}; again: {report.reproduce}", *report.faults]
    for name, check in report.checks.items():
        if check.violations:
            lines.append(f"{name}: {check.violations}")
            lines += [f"  {each['subject']}: {each['what']} {each['evidence']}" for each in check.shown[:5]]
    return os.linesep.join(lines)
