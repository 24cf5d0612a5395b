"""What people and Prometheus ask. Reads rows only, so any thread may ask."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.contracts.sketch import quantile
from headrace.contracts.stats import ERRORS
from headrace.service import WrongQuery
from services.insights.rows import FAILURES, HOUR, KEPT, MINUTE, TOTAL, Counts, Failures, Window, key_of, summed
from services.insights.table import PartitionRows

SPANS: Mapping[str, tuple[int, int]] = {
    "5m": (MINUTE, 5),
    "15m": (MINUTE, 15),
    "1h": (MINUTE, KEPT[MINUTE]),
    "24h": (HOUR, KEPT[HOUR]),
}
"""What may be asked for: that many windows of a width, the one under way included."""

METRICS_SPAN = "5m"
"""Of gauges: long enough for a rate, short enough for an alert."""

_Partitions = Callable[[], Mapping[int, PartitionRows]]


def insights(partitions: Mapping[int, PartitionRows], query: Mapping[str, str], now: float) -> list[dict[str, object]]:
    """The answer to `?span=5m|15m|1h|24h&automation=app/name&app=…`, by automation; raises WrongQuery."""
    span = query.get("span", "1h")
    if span not in SPANS:
        raise WrongQuery(f"unknown span {span!r}; known are {', '.join(SPANS)}")
    unknown = query.keys() - {"span", "automation", "app"}
    if unknown:
        raise WrongQuery(f"unknown parameter {min(unknown)!r}; known are span, automation, app")
    wanted, app = query.get("automation"), query.get("app")
    return [
        _told(rows, automation, span, now)
        for automation, rows in _automations(partitions)
        if wanted in (None, automation) and (app is None or automation.startswith(f"{app}/"))
    ]


def _told(rows: PartitionRows, automation: str, span: str, now: float) -> dict[str, object]:
    found, total = _recent(rows, automation, span, now), _counts(rows, automation, TOTAL)
    return {
        "automation": automation,
        "span": span,
        "runs": sum(found.ended.values()),
        "ended": found.ended,
        "error_rate": _error_rate(found),
        "p50_ms": quantile(found.durations, 0.5),
        "p95_ms": quantile(found.durations, 0.95),
        "failures_in_a_row": _failures(rows, automation),
        "total": total.ended,
        "last_at": datetime.fromtimestamp(total.last_at, UTC),
    }


class AutomationMetrics(Collector):
    """Metrics of every automation that this process has, made of the rows at each scrape."""

    def __init__(self, partitions: _Partitions, clock: Callable[[], float]) -> None:
        self._partitions = partitions
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Counters go on over restarts; gauges are there while runs end."""
        runs = CounterMetricFamily("headrace_automation_runs", "Runs that ended", labels=["automation", "status"])
        errors = GaugeMetricFamily(
            "headrace_automation_error_ratio", "Of the runs of 5 minutes, those that failed", labels=["automation"]
        )
        durations = GaugeMetricFamily(
            "headrace_automation_run_seconds", "Quantiles of 5 minutes", labels=["automation", "quantile"]
        )
        failures = GaugeMetricFamily(
            "headrace_automation_failures_in_a_row", "Of crons: the last runs that failed", labels=["automation"]
        )
        now = self._clock()
        for automation, rows in _automations(self._partitions()):
            for status, count in _counts(rows, automation, TOTAL).ended.items():
                runs.add_metric([automation, status], count)
            found = _recent(rows, automation, METRICS_SPAN, now)
            if (rate := _error_rate(found)) is not None:
                errors.add_metric([automation], rate)
            for share in (0.5, 0.95):
                if (duration := quantile(found.durations, share)) is not None:
                    durations.add_metric([automation, str(share)], duration / 1000)
            if (in_a_row := _failures(rows, automation)) is not None:
                failures.add_metric([automation], in_a_row)
        yield from (runs, errors, durations, failures)

    def describe(self) -> list[Metric]:
        """Nothing: registering it must not read rows."""
        return []


def _automations(partitions: Mapping[int, PartitionRows]) -> list[tuple[str, PartitionRows]]:
    # Copies, each made at once: the worker's loop goes on adding.
    return sorted(
        ((name, rows) for rows in list(partitions.values()) for name in list(rows.automations)),
        key=lambda each: each[0],
    )


def _counts(rows: PartitionRows, automation: str, kind: Window | str) -> Counts:
    return Counts.decode(rows.rows.get(key_of(automation, kind)))


def _recent(rows: PartitionRows, automation: str, span: str, now: float) -> Counts:
    width, count = SPANS[span]
    latest = int(now) // width * width
    windows = (Window(latest - width * back, width) for back in range(count))
    return summed(_counts(rows, automation, each) for each in windows)


def _error_rate(counts: Counts) -> float | None:
    runs = sum(counts.ended.values())
    return sum(counts.ended.get(status, 0) for status in ERRORS) / runs if runs else None


def _failures(rows: PartitionRows, automation: str) -> int | None:
    value = rows.rows.get(key_of(automation, FAILURES))
    return None if value is None else Failures.decode(value).in_a_row
