"""The demo's data, and what it must lead to: computed from the CSV by plain Python, never by Headrace."""

import csv
import gzip
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

APP = "airport"
TABLE = "flights"
TEXT_COLUMNS = frozenset(("carrier", "tailnum", "origin", "dest", "time_hour"))

Flight = Mapping[str, str | int | None]
Expected = set[tuple[str, str]]
"""(automation, flight id): one run each."""


class Outcome(NamedTuple):
    """What the flights must lead to: runs, and rows by table."""

    runs: Expected
    rows: dict[str, int]


def read_flights(file: Path) -> Iterator[tuple[str, Flight]]:
    """(flight id, row) of every line; numbers are numbers, missing values None."""
    with gzip.open(file, "rt", newline="") as lines:
        for number, line in enumerate(csv.DictReader(lines)):
            yield f"flight-{number}", {name: _cell(name, text) for name, text in line.items()}


def expected(file: Path, first: int | None = None) -> Outcome:
    """What the four automations of examples/flights must make of the file, or of its `first` flights."""
    runs: Expected = set()
    rows = {"delays": 0, "alerts": 0, "rebookings": 0}
    for id, flight in islice(read_flights(file), first):
        runs.add(("departure-board", id))
        delay = flight["dep_delay"]
        if isinstance(delay, int) and delay > 60:
            runs.add(("late-flight-desk", id))
            rows["delays"] += 1
            rows["alerts"] += delay > 180
        if flight["dep_time"] is None:
            runs.add(("cancelled-flights", id))
            runs.add(("rebooking-desk", id))
            rows["rebookings"] += 1
    return Outcome(runs, rows)


def _cell(name: str, text: str) -> str | int | None:
    if text in ("", "NA"):
        return None
    return text if name in TEXT_COLUMNS else int(text)
