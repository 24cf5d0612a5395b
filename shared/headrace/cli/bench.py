"""`bench`: work A and work B through the whole system, beside the bare hop of this machine in the same run."""

import getpass
import time
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.request import urlopen
from uuid import uuid4

import psutil
import typer
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace import applying
from headrace.cli.answering import Answering
from headrace.cli.bench_fairness import fairness
from headrace.cli.bench_fibo import fibo_automations, fibo_seconds, fibo_step
from headrace.cli.bench_gateway import gateway
from headrace.cli.bench_redrive import redrive
from headrace.cli.bench_respond import respond
from headrace.cli.bench_retries import retries
from headrace.cli.bench_timers import timers
from headrace.cli.bench_waits import waits
from headrace.cli.demo import percentile
from headrace.cli.output import Json, console, print_json, print_table, with_storage
from headrace.cli.stack import Running, counters, running
from headrace.cli.step_bench import step_costs
from headrace.contracts.automation import parse_automation
from headrace.publisher import Publisher
from headrace.settings import Settings, load_settings
from headrace.streams.admin import TopicSpec, make_topics
from headrace.streams.config import StreamConfig, consumer_properties, producer_properties

ROW_PADDING = "x" * 380
"""Makes the row change about 500 bytes."""

HOP_RECORDS = 200_000
HOP_BATCH = 1_000
HOP_VALUE = b"x" * 500
LATENCY_RATE = 20
TIMEOUT_S = 300.0

PUBLISHER = "publisher and bench"
APP = "bench"
THROUGHPUT, LATENCY, EFFECTS = "throughput", "latency", "effects"
"""An automation and a table of each name: one publisher serves all, warm before anything is measured."""

TRIGGER = {"type": "row.created", "when": "{{ row.n is number and row.n >= 0 }}"}
STEPS = [
    {"id": "check", "filter": "{{ trigger.row.kind == 'flight' }}"},
    {"id": "line", "use": "log", "with": {"text": "Row {{ trigger.row.n }} of {{ trigger.row.kind }}"}},
    {"id": "answer", "collect": "{{ trigger.row.n }}"},
]


app = typer.Typer(invoke_without_command=True, help="Measure this installation on this machine.")
app.command()(timers)
app.command()(fairness)
app.command()(retries)
app.command()(gateway)
app.command()(respond)
app.command()(redrive)
app.command()(waits)


@app.callback()
def bench(
    context: typer.Context,
    events: Annotated[int, typer.Option(help="Events of work A", min=100)] = 50_000,
    latency_seconds: Annotated[int, typer.Option(help="Seconds at 20 events/s", min=1)] = 60,
    effects_events: Annotated[int, typer.Option(help="Events of work B", min=100)] = 5_000,
    as_json: Json = False,
) -> None:
    """Measure runs/s without and with effects, latency and the machine's own limit, on a fresh embedded stack.

    `bench timers` measures the scheduler, `bench retries` how late retries are, `bench fairness` what an app waits for
    behind a busy one, `bench redrive` a bulk redrive that is killed, `bench waits` runs that wait for events, `bench
    gateway` webhooks, `bench respond` synchronous ones.
    """
    if context.invoked_subcommand is None:
        _bench(events, latency_seconds, effects_events, as_json)


def _bench(events: int, latency_seconds: int, effects_events: int, as_json: bool) -> None:
    settings = load_settings()
    settings = settings.model_copy(update={"state_dir": settings.state_dir / "bench", "allow_private_hosts": True})
    with (
        fibo_step(),
        running(settings, fresh=True, quiet=as_json) as found,
        Answering() as answering,
        _publisher(found.settings) as publisher,
    ):
        hop = _hop(found.settings)
        _tell(as_json, f"bare hop: {hop:,.0f} messages/s")
        _apply(found.settings, answering.url)
        _work(found, publisher, THROUGHPUT, min(events, 2_000), None)  # warm-up: plans, connections, the JVM
        work_a = _measure(found, publisher, THROUGHPUT, events, hop)
        _tell(as_json, f"work A: {work_a['runs_per_s']:,.0f} runs/s")
        _work(found, publisher, LATENCY, LATENCY_RATE * latency_seconds, 1 / LATENCY_RATE)
        latencies = with_storage(found.settings, lambda storage: storage.runs.latencies_ms(APP, LATENCY))
        work_a["latency_ms"] = {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)}
        stages = _stages(found)
        _work(found, publisher, EFFECTS, 200, None)
        answered = answering.count
        work_b = _measure(found, publisher, EFFECTS, effects_events, hop)
        if answering.count - answered != effects_events:
            raise RuntimeError(
                f"{answering.count - answered} calls of {effects_events} runs: these figures mean nothing"
            )
        processes = _usages(found)
        fibo = fibo_seconds(found.settings)
        steps = step_costs()
    if as_json:
        print_json(
            {
                "work_a": work_a,
                "work_b": work_b,
                "hop": {"messages_per_s": round(hop, 1)},
                "ratio": work_a["ratio"],
                "stages": stages,
                "us_per_step": steps,
                "fibo": fibo,
                "processes": processes,
            }
        )
        return
    print_table(
        ("", "work A", "work B"),
        [
            ("runs/s", f"{work_a['runs_per_s']:,.0f}", f"{work_b['runs_per_s']:,.0f}"),
            ("ratio to the bare hop", work_a["ratio"], work_b["ratio"]),
            ("latency at 20 events/s", "p50 {p50} ms, p99 {p99} ms".format(**work_a["latency_ms"]), ""),
            *[
                (f"CPU µs per run: {name}", work_a["us_per_run"][name], work_b["us_per_run"][name])
                for name in work_a["us_per_run"]
            ],
        ],
    )
    print_table(
        ("stage, work A", "records/batch", "handler µs/record", "transaction ms"),
        [(s["name"], s["records_per_batch"], s["handler_us_per_record"], s["transaction_ms"]) for s in stages],
    )
    print_table(("step, the engine alone", "µs"), list(steps.items()))
    print_table(("event to MongoDB", "s"), [(name, str(each)) for name, each in fibo.items()])
    print_table(("process", "CPU s", "peak MiB"), [(u["name"], u["cpu_s"], u["peak_mib"]) for u in processes])


def _measure(found: Running, publisher: Publisher, table: str, events: int, hop: float) -> dict[str, Any]:
    """Runs per second, their ratio to the hop, and what CPU a run cost in each process."""
    before = _cpu_s(found)
    rate = _work(found, publisher, table, events, None)
    spent = {name: round((seconds - before[name]) / events * 1e6, 1) for name, seconds in _cpu_s(found).items()}
    return {"events": events, "runs_per_s": round(rate, 1), "ratio": round(rate / hop, 4), "us_per_run": spent}


def _tell(quiet: bool, text: str) -> None:
    if not quiet:
        console.print(text, highlight=False)


def _apply(settings: Settings, url: str) -> None:
    call = {"url": url, "method": "POST", "json": {"n": "{{ trigger.row.n }}"}}
    effects = [
        {"id": "note", "use": "row.create", "with": {"table": "notes", "row": {"n": "{{ trigger.row.n }}"}}},
        {"id": "call", "use": "http.request", "with": call},
    ]
    documents = [
        parse_automation({"name": name, "app": APP, "trigger": {**TRIGGER, "table": name}, "steps": steps})
        for name, steps in ((THROUGHPUT, STEPS), (LATENCY, STEPS), (EFFECTS, [*STEPS, *effects]))
    ] + fibo_automations()
    with_storage(settings, lambda storage: applying.apply(settings, storage, documents, getpass.getuser()))


def _publisher(settings: Settings) -> Publisher:
    servers = settings.kafka["bootstrap.servers"]
    return Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka)


def _work(found: Running, publisher: Publisher, table: str, events: int, interval_s: float | None) -> float:
    """Publishes rows of `table`, waits until MongoDB has a run of each, answers runs per second from first to last."""
    settings = found.settings
    before, counted = _in_mongodb(settings), _recorded(found)
    began = time.time()
    next_at = time.monotonic()
    for number in range(events):
        row = {"n": number, "kind": "flight", "padding": ROW_PADDING}
        publisher.submit_row(table, f"row-{number % 1000}", after=row)
        if interval_s is not None:
            next_at += interval_s
            time.sleep(max(0.0, next_at - time.monotonic()))
    publisher.flush()
    deadline = time.monotonic() + TIMEOUT_S
    while _recorded(found) < counted + events:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all runs were recorded within {TIMEOUT_S:.0f} s")
        time.sleep(0.5)  # who is asked more often is busy with the answers; the end is what MongoDB says
    if (there := _in_mongodb(settings)) != before + events:
        raise RuntimeError(f"MongoDB has {there - before} new runs of {events} events: these figures mean nothing")
    ended = with_storage(settings, lambda storage: storage.runs.last_recorded_at())
    return events / (ended.timestamp() - began) if ended is not None else 0.0


def _recorded(found: Running) -> int:
    """What the recorder itself counts: asking MongoDB while it works would be a part of what is measured."""
    with urlopen(f"http://127.0.0.1:{found.ports['recorder-0']}/metrics", timeout=5) as answer:
        return int(counters(answer.read().decode(), {"new": 'headrace_run_records_total{outcome="new"}'})["new"])


def _in_mongodb(settings: Settings) -> int:
    return sum(with_storage(settings, lambda storage: storage.runs.count_by_status(APP)).values())


def _hop(settings: Settings) -> float:
    """Messages per second of a bare transactional consume-produce loop: 500-byte records, batches of 1,000."""
    source, target = f"{settings.prefix}.hop.in", f"{settings.prefix}.hop.out"
    make_topics(settings.kafka, [TopicSpec(name, 1, 1, {}) for name in (source, target)])
    feeder = Producer({**settings.kafka, "enable.idempotence": True, "linger.ms": 5})
    for number in range(HOP_RECORDS):
        feeder.produce(source, HOP_VALUE, b"%d" % number)
        if number % (50 * HOP_BATCH) == 0:
            feeder.flush()  # the client's queue holds 100,000
    feeder.flush()
    name = f"{settings.prefix}-hop-{uuid4().hex[:8]}"
    config = StreamConfig(settings.kafka, name, [], name, name, HOP_BATCH)
    properties = {k: v for k, v in consumer_properties(config).items() if k != "group.remote.assignor"}
    consumer = Consumer({**properties, "group.protocol": "classic"})
    producer = Producer(producer_properties(config))
    producer.init_transactions(30)
    consumer.assign([TopicPartition(source, 0, 0)])
    consumer.consume(1, 10)  # the first fetch is not the loop's speed
    done, began = 1, time.perf_counter()
    while done < HOP_RECORDS:
        messages = consumer.consume(1, 1) + consumer.consume(HOP_BATCH - 1, 0)
        if messages:
            _forward(consumer, producer, target, messages)
            done += len(messages)
    rate = done / (time.perf_counter() - began)
    consumer.close()
    return rate


def _forward(consumer: Consumer, producer: Producer, target: str, messages: Sequence[Any]) -> None:
    producer.begin_transaction()
    for message in messages:
        producer.produce(target, message.value(), message.key())
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30
    )
    producer.commit_transaction(30)


def _cpu_s(found: Running) -> dict[str, float]:
    """CPU seconds by process, from its start until now."""
    mine = psutil.Process().cpu_times()
    usages = [*found.stack.usage(), *found.services.usage()]
    return {**{usage.name: usage.cpu_s for usage in usages}, PUBLISHER: mine.user + mine.system}


def _usages(found: Running) -> list[dict[str, object]]:
    peaks = {usage.name: usage.peak_mib for usage in (*found.stack.usage(), *found.services.usage())}
    peaks[PUBLISHER] = psutil.Process().memory_info().rss / (1 << 20)
    return [
        {"name": name, "cpu_s": round(cpu, 2), "peak_mib": round(peaks[name], 1)} for name, cpu in _cpu_s(found).items()
    ]


def _stages(found: Running) -> list[dict[str, object]]:
    """What each service's own metrics say of its batches, over the whole of this bench."""
    stages: list[dict[str, object]] = []
    for name, port in found.ports.items():
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            got = counters(answer.read().decode(), _STAGE_METRICS)
        records, batches = max(got["records"], 1), max(got["batches"], 1)
        stages.append(
            {
                "name": name,
                "records_per_batch": round(records / batches, 1),
                "handler_us_per_record": round(got["handler_s"] / records * 1e6, 1),
                "transaction_ms": round(got["commit_s"] / max(got["commits"], 1) * 1e3, 2),
            }
        )
    return stages


_STAGE_METRICS = {
    "records": "headrace_batch_records_sum",
    "batches": "headrace_batch_records_count",
    "handler_s": "headrace_batch_handler_seconds_sum",
    "commit_s": "headrace_transaction_seconds_sum",
    "commits": "headrace_transaction_seconds_count",
}
