"""`bench retries`: how late runs that wait in a retry tier go on."""

import getpass
import time
from datetime import datetime
from typing import Annotated

import typer

from headrace import applying
from headrace.cli.answering import Answering
from headrace.cli.demo import percentile
from headrace.cli.output import Json, print_json, print_table, with_storage
from headrace.cli.run_watch import RunWatch
from headrace.cli.stack import running
from headrace.contracts.automation import parse_automation
from headrace.contracts.runs import RunRecord
from headrace.publisher import Publisher
from headrace.settings import Settings, load_settings

APP, NAME = "bench", "retried"

TIMEOUT_S = 600.0
"""For ten thousand runs on a slow machine."""

BEHIND_S = 10
"""The tier is longer by this than it takes to publish, so that all wait at the same time."""


def retries(
    waiting: Annotated[int, typer.Option(help="Runs that wait in the tier at the same time", min=100)] = 10_000,
    rate: Annotated[int, typer.Option(help="Runs a second that come, and so go on", min=10)] = 500,
    as_json: Json = False,
) -> None:
    """Measure how late runs go on that a failed call sent to a retry tier, on a fresh embedded stack."""
    settings = load_settings()
    tier_s = waiting // rate + BEHIND_S
    update = {"state_dir": settings.state_dir / "bench", "retry_tiers": f"{tier_s}s", "allow_private_hosts": True}
    due: dict[str, datetime] = {}
    ends: dict[str, datetime] = {}

    def take(record: RunRecord) -> None:
        after = record.get("next", {}).get("due")
        if record["status"] == "retrying" and after is not None:
            due[record["run_id"]] = after
        elif record["finished_at"] is not None:
            ends[record["run_id"]] = record["steps"][0]["started_at"]

    with (
        running(settings.model_copy(update=update), fresh=True, quiet=as_json) as found,
        Answering(fails_first=True) as answering,
        RunWatch(found.settings) as watch,
    ):
        _apply(found.settings, answering.url)
        _publish(found.settings, waiting, rate)
        watch.read(lambda: len(ends) >= waiting, take, TIMEOUT_S)
    late = sorted((ends[run] - due[run]).total_seconds() * 1e3 for run in ends)
    late_ms = {name: round(percentile(late, share), 1) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    at_once = _most_at_once(due, tier_s)
    early = sum(each < 0 for each in late)
    if as_json:
        print_json({"runs": waiting, "tier_s": tier_s, "waiting": at_once, "early": early, "late_ms": late_ms})
        return
    print_table(
        ("", f"{waiting:,} runs, {rate:,} a second"),
        [
            ("at the same time in the tier", f"{at_once:,}"),
            ("went on early", early),
            ("late", "p50 {p50} ms, p99 {p99} ms, at most {max} ms".format(**late_ms)),
        ],
    )


def _most_at_once(due: dict[str, datetime], tier_s: float) -> int:
    """How many waited as the first one was due."""
    first = min(due.values())
    return sum((each - first).total_seconds() <= tier_s for each in due.values())


def _apply(settings: Settings, url: str) -> None:
    call = {"url": url, "method": "POST", "json": {"n": "{{ trigger.data.n }}"}}
    steps = [{"id": "call", "use": "http.request", "with": call, "retry": {"attempts": 1}, "on_error": "retry"}]
    trigger = {"type": "event", "event": "work"}
    document = parse_automation({"name": NAME, "app": APP, "trigger": trigger, "steps": steps})
    with_storage(settings, lambda storage: applying.apply(settings, storage, [document], getpass.getuser()))


def _publish(settings: Settings, count: int, rate: int) -> None:
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        began = time.monotonic()
        for number in range(count):
            publisher.submit_event("work", {"n": number}, key=f"key-{number}")
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        publisher.flush()
