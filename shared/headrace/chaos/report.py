"""What is written down of a run of the harness: as JSON, and as rows that a person reads."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from headrace.chaos.checks import Finding
from headrace.chaos.observations import FaultSeen, Observations
from headrace.chaos.orders import Order
from headrace.chaos.plan import PARTS, Fault, Plan
from headrace.chaos.quiet import Quiet

MOST_VIOLATIONS = 50
"""Of one check and seed in the report: enough to see a pattern; `violations` has the whole number."""

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What one check found; `shown` are the first violations, in words."""

    violations: int
    counts: Mapping[str, int]
    shown: Sequence[Mapping[str, object]]

    @staticmethod
    def of(finding: Finding) -> "CheckReport":
        """The report of a finding."""
        shown = [asdict(each) for each in finding.violations[:MOST_VIOLATIONS]]
        return CheckReport(len(finding.violations), dict(finding.counts), shown)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """One plan, what was done to the system, and what the checks say."""

    seed: int
    reproduce: str
    seconds: float
    quiet_s: float
    events: int
    records: int
    planned: Sequence[str]
    ordered: Sequence[str]
    faults: Sequence[str]
    checks: Mapping[str, CheckReport]
    moved_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds after the end of load and faults until a partition that had a lag was first seen to move."""
    went_on_s: Sequence[float] = ()
    """Seconds from the return of each part that was away until the first end of a run with effects was on its topic."""

    @property
    def violations(self) -> int:
        """Of all checks."""
        return sum(check.violations for check in self.checks.values())

    @staticmethod
    def of(
        plan: Plan,
        seen: Observations,
        findings: Mapping[str, Finding],
        quiet: Quiet,
        records: int,
        events: int,
        seconds: float,
    ) -> "SeedReport":
        """The report of a plan that was done."""
        start = min((fault.began for fault in seen.faults), default=0)
        return SeedReport(
            seed=plan.seed,
            reproduce=reproduce(plan),
            seconds=round(seconds, 1),
            quiet_s=round(quiet.seconds, 1),
            events=events,
            records=records,
            planned=[planned(fault) for fault in plan.faults],
            ordered=[ordered(order) for order in plan.orders],
            faults=[_done(fault, start) for fault in seen.faults],
            checks={name: CheckReport.of(finding) for name, finding in findings.items()},
            moved_s={str(partition): seconds for partition, seconds in quiet.moved_s.items()},
            went_on_s=_went_on_s(seen),
        )


def _went_on_s(seen: Observations) -> list[float]:
    owned = {run.id for run in seen.expected if run.owned}
    ends = sorted(run.appended for run in seen.runs if run.final and run.run in owned)
    returns = [fault.ended for fault in seen.faults if fault.kind in PARTS]
    return [round((end - at) / _US, 2) for at in returns for end in [each for each in ends if each > at][:1]]


def reproduce(plan: Plan) -> str:
    """The command that makes the same plan again."""
    kinds = ",".join(plan.kinds) or "none"
    loads = ",".join(load.name for load in plan.loads)
    if plan.outage is not None:
        away_s = plan.faults[0].duration
        return f"headrace chaos --seed {plan.seed} --outage {plan.outage} --seconds {away_s:g} --loads {loads}"
    return f"headrace chaos --seed {plan.seed} --seconds {plan.seconds:g} --faults {kinds} --loads {loads}"


def planned(fault: Fault) -> str:
    """A fault of a plan in words."""
    target = f" {fault.target}" if fault.target else ""
    side = f" {fault.side}" if fault.side else ""
    latency = f" by {fault.latency_s:g} s" if fault.latency_s else ""
    return f"{fault.at:.1f} s: {fault.kind}{target}{side}{latency} for {fault.duration:.1f} s"


def ordered(order: Order) -> str:
    """An order of a plan in words."""
    rate = f" at {order.rate:g} runs a second" if order.rate else ""
    return f"{order.at:.1f} s: {order.what} {order.automation}{rate}"


def _done(fault: FaultSeen, start: int) -> str:
    took = (fault.ended - fault.began) / _US
    return f"+{(fault.began - start) / _US:.1f} s: {fault.kind} {fault.target} for {took:.1f} s"


def totals(reports: Sequence[SeedReport]) -> dict[str, int]:
    """The figures of all seeds, summed: counts of the checks, and violations by check."""
    sums: dict[str, int] = {"seeds": len(reports), "violations": sum(report.violations for report in reports)}
    for report in reports:
        for name, check in report.checks.items():
            for what, number in check.counts.items():
                sums[what] = sums.get(what, 0) + number
            if check.violations:
                label = f"violations: {name}"
                sums[label] = sums.get(label, 0) + check.violations
    return sums
