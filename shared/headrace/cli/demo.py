"""`demo`: a month of flights through the whole system, and a table of whether anything was lost or done twice."""

import getpass
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, cast
from urllib.request import urlopen

import typer
from rich.live import Live
from rich.table import Table

from headrace import applying
from headrace.cli.automations import read_automations
from headrace.cli.flights import APP, TABLE, Outcome, expected, read_flights
from headrace.cli.output import Json, console, print_facts, print_json, with_storage
from headrace.cli.stack import Running, counters, running
from headrace.contracts.runs import FINAL_STATUSES, read_run
from headrace.contracts.topics import RUNS
from headrace.engine import compile_plan
from headrace.installation import READS, group_name, source_topics
from headrace.publisher import Published, Publisher
from headrace.settings import Settings, load_settings
from headrace.storage import Storage
from headrace.streams.admin import group_lag, read_topic

EXAMPLE = Path("examples/flights")
EVERY_TENTH = 10
"""A careless publisher sends every tenth event twice."""

STAGES = {
    "trigger_matcher-0": {"events": "headrace_events_total", "jobs": "headrace_jobs_total"},
    "orchestrator-0": {
        "runs": "headrace_runs_total",
        "dropped": 'headrace_run_claims_total{standing="duplicate"}',
    },
    "recorder-0": {"recorded": "headrace_run_records_total"},
}
QUIET_TIMEOUT_S = 300.0
"""The month takes some ten seconds; a machine thirty times slower than that is broken."""


class Measured(NamedTuple):
    """What was found in MongoDB, and how long it took."""

    outcomes: list[tuple[str, str, str, str]]
    rows: dict[str, int]
    latencies_ms: list[float]
    seconds: float
    second_records: int
    """Second final records of runs that own a head."""


def demo(as_json: Json = False) -> None:
    """Run a month of real flights through the system and count what came of them."""
    if not EXAMPLE.is_dir():
        raise FileNotFoundError(f"{EXAMPLE} is not here: run the demo in Headrace's own directory")
    settings = _own_settings(load_settings())
    if not as_json:
        console.print("A clean start: the demo's data of an earlier run are removed.", style="dim")
    with running(settings, fresh=True, quiet=as_json) as found:
        result = _run(found, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        print_facts(_table(result))
        console.print(LATER, style="dim")
    if result["lost"] or result["executed_twice"] or result["unexpected"]:
        raise typer.Exit(1)


LATER = (
    "A duplicate of a run with effects is dropped before its first one; a duplicate of a run without is computed again "
    "and its record collapses. Latency is that of a full backlog; `headrace bench` measures it at 20 events/s."
)


def _own_settings(settings: Settings) -> Settings:
    """The demo's own directory, and on configured clusters its own prefix, so that it touches nothing else."""
    prefix = settings.prefix
    if settings.kafka_bootstrap_servers or settings.mongodb_uri:
        prefix = f"{settings.prefix}-demo-{int(time.time())}"
    return settings.model_copy(update={"state_dir": settings.state_dir / "demo", "prefix": prefix})


def _run(found: Running, quiet: bool) -> dict[str, object]:
    settings = found.settings
    outcome = expected(EXAMPLE / "flights.csv.gz")
    documents = read_automations(EXAMPLE)
    with_storage(settings, lambda storage: applying.apply(settings, storage, documents, getpass.getuser()))
    with Live(console=console, transient=True, refresh_per_second=4) if not quiet else _Silent() as live:
        began = time.time()
        events, duplicates = _publish(settings)
        _wait_for_quiet(found, live)
    counted = _scrape(found)
    owned = {document.name for document in documents if compile_plan(document, 1).has_effects}
    second = _second_records(settings, owned)
    measured = with_storage(settings, lambda storage: _measure(storage, outcome, began, second))
    return _judge(outcome, measured, counted, events, duplicates)


def _publish(settings: Settings) -> tuple[int, int]:
    """Publishes every flight, each tenth twice; answers how many events, and how many duplicates, were confirmed."""
    events = duplicates = 0
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        waiting: list[Future[Published]] = []
        for number, (id, flight) in enumerate(read_flights(EXAMPLE / "flights.csv.gz")):
            waiting.append(publisher.submit_row(TABLE, id, after=flight, id=id))
            events += 1
            if number % EVERY_TENTH == 0:
                waiting.append(publisher.submit_row(TABLE, id, after=flight, id=id))
                duplicates += 1
        for each in waiting:
            each.result()
    return events, duplicates


def _wait_for_quiet(found: Running, live: "Live | _Silent") -> None:
    """Returns when every stage has committed all there is: lag 0 all along the way, twice in a row."""
    settings, deadline, quiet = found.settings, time.monotonic() + QUIET_TIMEOUT_S, 0
    while quiet < 2:
        found.stack.check()
        found.services.check()
        lags = {
            service: group_lag(settings.kafka, group_name(settings, service), source_topics(settings, service))
            for service in READS
        }
        quiet = quiet + 1 if not any(lags.values()) else 0
        live.update(_progress(_scrape(found), lags))
        if time.monotonic() > deadline:
            raise TimeoutError(f"not quiet after {QUIET_TIMEOUT_S:.0f} s; still waiting: {lags}")
        time.sleep(0.25)


def _scrape(found: Running) -> dict[str, float]:
    """The services' counters, and `collapsed` of the recorder by itself."""
    sums: dict[str, float] = {}
    for name, wanted in STAGES.items():
        with urlopen(f"http://127.0.0.1:{found.ports[name]}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        sums |= counters(text, wanted)
        if name.startswith("recorder"):
            sums |= counters(text, {"collapsed": 'headrace_run_records_total{outcome="collapsed"}'})
    return sums


def _second_records(settings: Settings, owned: set[str]) -> int:
    """Final records beyond the first of each run of these automations, counted on the topic itself."""
    finals: Counter[str] = Counter()
    for record in read_topic(settings.kafka, RUNS.full_name(settings.prefix)):
        run = read_run(record.value)
        if run["automation"] in owned and run["status"] in FINAL_STATUSES:
            finals[run["run_id"]] += 1
    return sum(finals.values()) - len(finals)


async def _measure(storage: Storage, outcome: Outcome, began: float, second_records: int) -> Measured:
    ended = await storage.runs.last_recorded_at()
    return Measured(
        outcomes=await storage.runs.outcomes(),
        rows={table: await storage.rows.count(APP, table) for table in outcome.rows},
        latencies_ms=await storage.runs.latencies_ms(APP),
        seconds=0.0 if ended is None else ended.timestamp() - began,
        second_records=second_records,
    )


def _judge(
    outcome: Outcome, measured: Measured, counted: Mapping[str, float], events: int, duplicates: int
) -> dict[str, object]:
    """Compares what was found with what was expected. A run is named by its flight: for the rebooking desk, whose
    event is not the flight's own, by its key."""
    found = [
        (automation, key if automation == "rebooking-desk" else event, status)
        for automation, event, key, status in measured.outcomes
    ]
    runs = {(automation, flight) for automation, flight, _ in found}
    rows_missing = sum(max(0, wanted - measured.rows[table]) for table, wanted in outcome.rows.items())
    rows_beyond = sum(max(0, measured.rows[table] - wanted) for table, wanted in outcome.rows.items())
    latencies = measured.latencies_ms
    return {
        "events": events,
        "duplicates_sent": duplicates,
        "jobs": int(counted["jobs"]),
        "runs": len(found),
        "runs_by_status": dict(Counter(status for _, _, status in found)),
        "expected": len(outcome.runs),
        "lost": len(outcome.runs - runs) + rows_missing,
        "unexpected": len(runs - outcome.runs) + len(found) - len(runs),
        "executed_twice": rows_beyond + measured.second_records,
        "duplicates_dropped": int(counted["dropped"]),
        "duplicates_collapsed": int(counted["collapsed"]),
        "rows": measured.rows,
        "runs_per_s": round(len(found) / measured.seconds, 1) if measured.seconds > 0 else 0.0,
        "latency_ms": {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)},
    }


def percentile(ascending: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank); 0 without values."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0.0


def _progress(counted: Mapping[str, float], lags: Mapping[str, int]) -> Table:
    table = Table(box=None)
    for column in ("stage", "done", "waiting"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    table.add_row("events matched", f"{counted['events']:,.0f}", f"{lags['trigger_matcher']:,}")
    table.add_row("jobs made", f"{counted['jobs']:,.0f}", "")
    table.add_row("runs executed", f"{counted['runs']:,.0f}", f"{lags['orchestrator']:,}")
    table.add_row("records written", f"{counted['recorded']:,.0f}", f"{lags['recorder']:,}")
    return table


def _table(result: Mapping[str, object]) -> dict[str, object]:
    shown = {name.replace("_", " "): value for name, value in result.items()}
    for name in ("runs by status", "rows", "latency ms"):
        parts = cast("Mapping[str, float]", shown[name])
        shown[name] = ", ".join(f"{part} {value:,}" for part, value in parts.items())
    return shown


class _Silent:
    """Takes Live's place where nothing is to be shown."""

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, table: Table) -> None:
        """Shows nothing."""
