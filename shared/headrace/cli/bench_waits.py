"""`bench waits`: thousands of runs that wait for an event, what they hold meanwhile, and how fast they go on."""

import getpass
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from urllib.request import urlopen

import typer

from headrace import applying
from headrace.cli.demo import percentile
from headrace.cli.output import Json, console, print_json, print_table, with_storage
from headrace.cli.run_watch import RunWatch
from headrace.cli.stack import Running, counters, running
from headrace.contracts.automation import parse_automation
from headrace.contracts.runs import RunRecord
from headrace.publisher import Publisher
from headrace.settings import Settings, load_settings

APP, TOLD, SILENT, TABLE = "bench", "told", "silent", "told"
"""Runs of the one automation are told what they wait for; of the other they are not, and their time runs out."""

TIMEOUT_S = 600.0
"""For ten thousand runs on a slow machine."""

SHARE = 10
"""Every tenth run's event comes before its wait is known, and of every tenth the time runs out."""


def waits(
    runs: Annotated[int, typer.Option(help="Runs that wait at the same time", min=20)] = 10_000,
    rate: Annotated[int, typer.Option(help="Events a second that they are told", min=10)] = 500,
    as_json: Json = False,
) -> None:
    """Measure what runs hold that wait for an event, and how fast they go on with it, on a fresh embedded stack."""
    settings = load_settings()
    settings = settings.model_copy(update={"state_dir": settings.state_dir / "bench"})
    early, silent = runs // SHARE, runs // SHARE
    told = runs - early - silent
    # Longer than it takes all to park, at a few hundred a second.
    silent_s = 5 + runs // 250
    seen = _Seen()
    with running(settings, fresh=True, quiet=as_json) as found, RunWatch(found.settings) as watch:
        _apply(found.settings, silent_s)
        with _publisher(found.settings) as publisher:
            for number in range(runs):
                publisher.submit_event(SILENT if number >= told + early else "start", {"n": number}, key=f"{number}")
                if told <= number < told + early:
                    publisher.submit_event(TOLD, {"n": number}, key=f"{number}")
            publisher.flush()
            watch.read(lambda: seen.waiting >= told + silent and seen.ended >= early, seen.take, TIMEOUT_S)
            in_flight = _in_flight(found)
            memory = {name: _rss_mib(found, name) for name in ("orchestrator", "scheduler")}
            if not as_json:
                console.print(f"{told + silent:,} runs wait, {in_flight} records are in flight", highlight=False)
            published: dict[int, float] = {}
            began = time.monotonic()
            for number in range(told):
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
                published[number] = time.time()
                publisher.submit_event(TOLD, {"n": number}, key=f"{number}")
            publisher.flush()
        watch.read(lambda: seen.ended >= runs, seen.take, TIMEOUT_S)
        rows = with_storage(found.settings, lambda storage: storage.rows.count(APP, TABLE))
    late = sorted((seen.went_on[number] - at) * 1e3 for number, at in published.items())
    result: dict[str, object] = {
        "runs": runs,
        "parked": told + silent,
        "in_flight_while_waiting": in_flight,
        "rss_mib": memory,
        "told": told,
        "told_before_the_wait": early,
        "timed_out": sum(status == "error" for status in seen.statuses.values()),
        "timed_out_early": seen.early,
        "statuses": dict(Counter(seen.statuses.values())),
        "ended_more_than_once": sum(count > 1 for count in seen.ends.values()),
        "rows": rows,
        "resumed_ms": {name: round(percentile(late, share), 1) for name, share in _SHARES},
    }
    if as_json:
        print_json(result)
        return
    print_table(
        ("", f"{runs:,} runs, told {rate:,} a second"),
        [(name.replace("_", " "), str(value)) for name, value in result.items()],
    )


_SHARES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


class _Seen:
    """What the records of runs have told so far, by the number of the run's event."""

    def __init__(self) -> None:
        self._due: dict[str, datetime] = {}
        self.statuses: dict[str, str] = {}
        self.ends: Counter[str] = Counter()
        self.went_on: dict[int, float] = {}
        self.early = 0

    @property
    def waiting(self) -> int:
        """Runs that have parked."""
        return len(self._due)

    @property
    def ended(self) -> int:
        """Runs that are at their end."""
        return len(self.statuses)

    def take(self, record: RunRecord) -> None:
        """The next record."""
        run, finished = record["run_id"], record["finished_at"]
        if record["status"] == "waiting":
            self._due[run] = record.get("next", {}).get("due") or datetime.now(UTC)
        elif finished is not None:
            self.ends[run] += 1
            self.statuses[run] = record["status"]
            if record["automation"] == SILENT:
                self.early += finished < self._due[run]
            else:
                self.went_on[int(record["key"])] = record["steps"][-1]["started_at"].timestamp()


def _apply(settings: Settings, silent_s: int) -> None:
    def wait(timeout: str) -> dict[str, object]:
        key = "{{ trigger.data.n }}"
        told = {"type": TOLD, "key": key, "timeout": timeout, "match": "{{ data.n == trigger.data.n }}"}
        return {"id": "wait", "wait_for_event": told, "on_error": "stop"}

    note = {"id": "note", "use": "row.create", "with": {"table": TABLE, "row": {"n": "{{ trigger.data.n }}"}}}
    documents = [
        parse_automation({"name": name, "app": APP, "trigger": {"type": "event", "event": event}, "steps": steps})
        for name, event, steps in ((TOLD, "start", [wait("1h"), note]), (SILENT, SILENT, [wait(f"{silent_s}s"), note]))
    ]
    with_storage(settings, lambda storage: applying.apply(settings, storage, documents, getpass.getuser()))


def _publisher(settings: Settings) -> Publisher:
    servers = settings.kafka["bootstrap.servers"]
    return Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka)


def _in_flight(found: Running) -> int:
    """The orchestrator's own count, once it is 0: a run's last commit follows its record."""
    return _until(lambda: _metric(found, "orchestrator-0", "headrace_in_flight_records"), 0)


def _until(look: Callable[[], int], wanted: int) -> int:
    """What is seen at last: `wanted`, or whatever it is after ten seconds."""
    deadline = time.monotonic() + 10
    while (value := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)  # another process's number: there is nothing here to await
    return value


def _metric(found: Running, process: str, name: str) -> int:
    with urlopen(f"http://127.0.0.1:{found.ports[process]}/metrics", timeout=5) as answer:
        return int(counters(answer.read().decode(), {"it": name})["it"])


def _rss_mib(found: Running, service: str) -> float:
    (process,) = [each for each in found.services.processes if each.name == f"{service}-0"]
    return round(process.stats().memory_info().rss / (1 << 20), 1)
