"""`chaos`: faults into a real stack under load, and a judgement from outside."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, cast

import orjson
import typer

from headrace.chaos.harness import QUIET_DEADLINE_S, run_plan
from headrace.chaos.loads import LOADS, usable
from headrace.chaos.plan import FAULTS, PARTS, FaultKind, Part, Plan, make_outage, make_plan
from headrace.chaos.recovery import measure_recovery
from headrace.chaos.report import SeedReport, ordered, planned, totals
from headrace.cli.output import Json, console, print_json, print_table
from headrace.settings import load_settings

SHOWN = 5
"""Violations of a check that the summary prints; the report has more."""


def chaos(
    seed: Annotated[int, typer.Option(help="The first plan's seed.", min=0)] = 1,
    seeds: Annotated[int, typer.Option(help="How many plans, each of the next seed.", min=1)] = 1,
    seconds: Annotated[float, typer.Option(help="Load and faults of each plan.", min=1)] = 60.0,
    faults: Annotated[str, typer.Option(help=f"Of {', '.join(FAULTS)}; or none.")] = ",".join(FAULTS),
    loads: Annotated[str, typer.Option(help=f"Of {', '.join(LOADS)}.")] = ",".join(LOADS),
    outage: Annotated[
        str, typer.Option(help=f"Instead of faults: one of {', '.join(PARTS)} is away for all the --seconds.")
    ] = "",
    quiet_within: Annotated[
        float, typer.Option(help="Seconds in which all must be done after load and faults.")
    ] = QUIET_DEADLINE_S,
    recovery: Annotated[int, typer.Option(help="Measure instead: kills of one of two processes of a service.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write all that was found into this JSON file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plans and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Kill, stop, cut off and overload a real stack under load, and judge from outside what came of it.

    Starts an embedded Kafka and MongoDB and two processes of each service, under .headrace/chaos. Ends with 0 if no
    promise was broken.
    """
    if recovery and not dry_run:
        _recover(recovery, report, as_json)
        return
    kinds = cast("list[FaultKind]", _chosen(faults, FAULTS, "--faults"))
    names, refused = usable(_chosen(loads, list(LOADS), "--loads"))
    part = cast("Part | None", next(iter(_chosen(outage, PARTS, "--outage")), None))
    numbers = range(seed, seed + seeds)
    if part is None:
        plans = [make_plan(number, seconds, kinds, names) for number in numbers]
    else:
        plans = [make_outage(number, part, seconds, names) for number in numbers]
    _warn(refused, as_json)
    done: list[SeedReport] = []
    for plan in plans:
        if not as_json:
            _print_plan(plan)
        if not dry_run:
            done.append(_run(plan, quiet_within, as_json))
            if not as_json:
                _print_seed(done[-1])
    if dry_run:
        return
    result = _result(done, refused)
    if report is not None:
        report.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if as_json:
        print_json(result)
    else:
        _print_totals(result, report)
    if any(each.violations for each in done):
        raise typer.Exit(1)


def _chosen(text: str, known: Sequence[str], option: str) -> list[str]:
    names = [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint=option)
    return names


def _teller(quiet: bool) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if not quiet:
            console.print(text, style="dim", highlight=False)

    return tell


def _run(plan: Plan, quiet_within: float, as_json: bool) -> SeedReport:
    settings = load_settings()
    directory = settings.state_dir / "chaos" / f"seed-{plan.seed}"
    done = run_plan(plan, settings, directory, deadline_s=quiet_within, tell=_teller(as_json))
    if not done.violations:
        # Half a gigabyte of journal; of a seed that failed all stays, to be looked into.
        shutil.rmtree(directory, ignore_errors=True)
    return done


def _recover(kills: int, report: Path | None, as_json: bool) -> None:
    settings = load_settings()
    measured = measure_recovery(settings, settings.state_dir / "chaos" / "recovery", kills, _teller(as_json))
    result = {
        "at": datetime.now(UTC),
        "recovery": {each.service: {**each.summary(), "kills": [asdict(k) for k in each.kills]} for each in measured},
    }
    text = orjson.dumps(result, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2)
    if report is not None:
        report.write_bytes(text)
    if as_json:
        print_json(orjson.loads(text))
        return
    columns = ("service", "kills", "slowest partition p50 s", "max s", "max s restarted", "max s not restarted")
    print_table(columns, [(each.service, len(each.kills), *each.summary().values()) for each in measured])


def _result(done: Sequence[SeedReport], refused: Mapping[str, str]) -> dict[str, object]:
    return {
        "at": datetime.now(UTC),
        "passed": not any(each.violations for each in done),
        "loads_left_out": dict(refused),
        "totals": totals(done),
        "seeds": [{**asdict(each), "violations": each.violations} for each in done],
    }


def _warn(refused: Mapping[str, str], as_json: bool) -> None:
    if not as_json:
        for name, why in refused.items():
            console.print(
                f"LEFT OUT: the load {name!r}, which this system cannot express yet ({why})", style="bold red"
            )


def _print_plan(plan: Plan) -> None:
    console.print(f"\nSeed {plan.seed}: {plan.seconds:g} s", style="bold", highlight=False)
    rows: list[tuple[object, ...]] = [
        ("load", load.name, f"{load.events} events, {load.rate:g}/s, {load.customers} customers, {load.hot} hot")
        for load in plan.loads
    ]
    rows += [("fault", f"{fault.kind}", planned(fault)) for fault in plan.faults]
    rows += [("order", order.what, ordered(order)) for order in plan.orders]
    rows += [("behind a proxy", str(target), "") for target in plan.proxied]
    print_table(("", "what", ""), rows)


def _print_seed(done: SeedReport) -> None:
    rows = [
        (
            name,
            "ok" if not check.violations else f"{check.violations} VIOLATIONS",
            ", ".join(f"{what.replace('_', ' ')} {number:,}" for what, number in check.counts.items()),
        )
        for name, check in done.checks.items()
    ]
    print_table(("check", "", ""), rows)
    for name, check in done.checks.items():
        for each in check.shown[:SHOWN]:
            console.print(f"  {name}: {each['subject']}: {each['what']}", style="red", highlight=False)
            for line in cast("Sequence[str]", each["evidence"])[:SHOWN]:
                console.print(f"    {line}", style="dim", highlight=False)
    told = f"{done.events} events in {done.records} records, quiet after {done.quiet_s} s, {done.seconds} s in all"
    if done.went_on_s:
        told += (
            f"; the first run with effects ended {', '.join(f'{each:g}' for each in done.went_on_s)} s after a return"
        )
    console.print(told, style="dim", highlight=False)
    if done.violations:
        console.print(f"again: {done.reproduce}", highlight=False)


def _print_totals(result: Mapping[str, object], report: Path | None) -> None:
    console.print("\nAll seeds", style="bold")
    sums = cast("Mapping[str, int]", result["totals"])
    print_table(("", ""), [(name.replace("_", " "), f"{number:,}") for name, number in sums.items()])
    if report is not None:
        console.print(f"report: {report}", highlight=False)
