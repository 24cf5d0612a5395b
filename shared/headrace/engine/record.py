"""The record that a run leaves, and its bytes: bounded, whatever the run's values are."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import cast

import orjson

from headrace.contracts import limits
from headrace.contracts.representable import openings
from headrace.contracts.runs import RetryRef, RunRecord, RunStatus, StepResult
from headrace.engine.attempts import rounded
from headrace.engine.decisions import Decision, Retry
from headrace.engine.plain import BOUNDED_NUMBERS, MAX_DEPTH, dumps, plainly
from headrace.engine.run import Run, Started

CUT_START = 10_000
"""Characters of a cut value that a reader still sees: JSON needs at most six bytes for each, so they fit a value."""

CUT_START_SHORT = 200
"""The same where the whole record is too large."""

_SHORT_MESSAGE = 100
"""Characters of an error's message where the results alone are too large."""

MOST_RESULTS = 1_000
"""Of a record that is too large: the steps of the largest automation (MAX_STEPS), and as many from loops' last items.
Stripped, with a name of 100 characters, none has more than a thousand bytes."""

_BACKSLASH = ord("\\")
_NUL = b"\\u0000"
_MANY_BRACES = MAX_DEPTH
"""A record with fewer opening braces and brackets cannot be nested deeper than that; most have fewer than 30."""


def final_record(
    run: Run,
    started: Started,
    status: RunStatus,
    times: tuple[datetime, datetime],
    duration: float,
    decision: Decision | None,
) -> RunRecord:
    """The record that ends the job's segment; `times` are the run's start and end, `duration` the seconds it was active
    since this worker had it."""
    job = started.job
    cause = job.cause
    location = started.location
    record: RunRecord = {
        "format": 1,
        "run_id": job.run_id,
        "app": job.app,
        "automation": job.automation,
        "version": job.version,
        "status": status,
        "generation": job.generation,
        "sequence": 2 * job.segment + 1,
        "attempt": job.attempt,
        "key": job.key,
        "event": {
            "id": cause.id,
            "source": cause.source,
            "type": cause.type,
            "topic": cause.topic,
            "partition": cause.partition,
            "offset": cause.offset,
            "time": cause.time,
        },
        "job": {"topic": location.topic, "partition": location.partition, "offset": location.offset},
        "steps": run.results,
        "error": run.first_error,
        "event_time": cause.time,
        "started_at": times[0],
        "finished_at": times[1],
        "duration_ms": rounded(duration),
    }
    if run.journal is not None:
        record["owned"] = True
    if job.parent is not None:
        parent = job.parent
        record["parent"] = {"run_id": parent.run_id, "automation": parent.automation, "step": parent.step}
    retries = [*job.retries, decision.retried] if isinstance(decision, Retry) else job.retries
    if retries:
        record["retries"] = [cast(RetryRef, each.model_dump()) for each in retries]
    if decision is not None:
        record["next"] = decision.as_told()
    if run.has_collected:
        record["collected"] = run.collected
    return record


def stored(value: object) -> object:
    """The value as a record holds it: plain, and cut as there."""
    holder: dict[str, object] = {"value": plainly(value)}
    kept = _StoredValue(holder, "value")
    if kept.size > limits.STORED_VALUE:
        kept.cut(CUT_START)
    return holder["value"]


def encode_record(record: RunRecord) -> bytes:
    """The record as JSON, below limits.RUN_RECORD bytes, each value in it at most limits.STORED_VALUE.

    A value that is cut is replaced by `{"_cut": true, "bytes": its size as JSON, "start": its first characters}`. The
    record itself stays as it is.
    """
    record, encoded = _plain_and_encoded(record)
    # A record this small holds no larger value: the common case needs no look at its parts.
    return encoded if len(encoded) <= limits.STORED_VALUE else _bounded(record)


def encode_whole_record(record: RunRecord) -> bytes:
    """The same with every value and result whole: for who looks at it here and now, and stores it nowhere."""
    return _plain_and_encoded(record)[1]


def _plain_and_encoded(record: RunRecord) -> tuple[RunRecord, bytes]:
    try:
        encoded = orjson.dumps(record, option=BOUNDED_NUMBERS)
    except (orjson.JSONEncodeError, RecursionError):
        pass
    else:
        if not (_looks_refusable(encoded) and _is_refusable(record, 0)):
            return record, encoded
    plain = _plain(record)
    return plain, dumps(plain)


def _looks_refusable(encoded: bytes) -> bool:
    """Whether MongoDB could refuse it, at a glance: a NUL, which names may not hold, or deep nesting."""
    # Most records have no escape at all, and one byte is found ten times quicker than six.
    return (_BACKSLASH in encoded and _NUL in encoded) or openings(encoded) >= _MANY_BRACES


def _is_refusable(value: object, depth: int) -> bool:
    """Whether MongoDB would refuse it for its names or its nesting."""
    if isinstance(value, dict):
        inner = cast(dict[str, object], value)
        return depth > MAX_DEPTH or any("\0" in name or _is_refusable(inner[name], depth + 1) for name in inner)
    if isinstance(value, list | tuple):
        return depth > MAX_DEPTH or any(_is_refusable(item, depth + 1) for item in cast(list[object], value))
    return False


def _plain(record: RunRecord) -> RunRecord:
    """A copy in which every author's value is plain; the record's own parts are that already."""
    copied = _copied(record)
    for holder, name in _places(copied):
        holder[name] = plainly(holder[name])
    return copied


def _bounded(record: RunRecord) -> bytes:
    """The bytes of a record that may be too large, or hold values that are."""
    copied = _copied(record)
    values = [_StoredValue(holder, name) for holder, name in _places(copied)]
    for value in values:
        if value.size > limits.STORED_VALUE:
            value.cut(CUT_START)
    encoded = dumps(copied)
    excess = len(encoded) - limits.RUN_RECORD
    for value in sorted(values, key=lambda value: value.stored, reverse=True):
        if excess < 0:
            break
        excess -= value.cut(CUT_START_SHORT)
    encoded = dumps(copied)
    if len(encoded) >= limits.RUN_RECORD:
        _thin(copied["steps"])
        _strip(copied["steps"])
        encoded = dumps(copied)
    return encoded


def _thin(steps: list[StepResult]) -> None:
    """Leaves so many results that they fit: the outer ones before those inside of them, and of a list the last."""
    left = MOST_RESULTS
    level: list[list[StepResult]] = [steps]
    while level:
        left -= sum(len(each) for each in level)
        inside = [step for each in level for step in each if step.get("children")]
        share = left // len(inside) if inside else 0
        for step in inside:
            children = step.get("children", [])
            step["children"] = children[-share:] if share > 0 else []
        level = [step.get("children", []) for step in inside]


class _StoredValue:
    """An input, an output or the answer of a run, in the copy of the record that is cut."""

    def __init__(self, holder: dict[str, object], name: str) -> None:
        self._holder = holder
        self._name = name
        self._value = holder[name]
        self.size = self.stored = len(dumps(self._value))

    def cut(self, characters: int) -> int:
        """Replaces the value by a marker and its first `characters`, if that is shorter; returns the bytes won."""
        value = self._value
        start = value if isinstance(value, str) else dumps(value).decode()
        marker = {"_cut": True, "bytes": self.size, "start": start[:characters]}
        won = self.stored - len(dumps(marker))
        if won <= 0:
            return 0
        self._holder[self._name] = marker
        self.stored -= won
        return won


def _copied(record: RunRecord) -> RunRecord:
    copied = record.copy()
    copied["steps"] = _copied_steps(record["steps"])
    return copied


def _copied_steps(steps: list[StepResult]) -> list[StepResult]:
    copies: list[StepResult] = []
    for step in steps:
        copied = step.copy()
        for part in ("inputs", "outputs"):
            values = copied.get(part)
            if isinstance(values, Mapping):
                copied[part] = dict(cast(Mapping[str, object], values))
        if "children" in step:
            copied["children"] = _copied_steps(step["children"])
        copies.append(copied)
    return copies


def _places(record: RunRecord) -> Iterator[tuple[dict[str, object], str]]:
    """Where the authors' values are: each named input and output of each step, and the run's answer."""
    if "collected" in record:
        yield cast(dict[str, object], record), "collected"
    yield from _step_places(record["steps"])


def _step_places(steps: list[StepResult]) -> Iterator[tuple[dict[str, object], str]]:
    for step in steps:
        for part in ("inputs", "outputs"):
            values = cast(dict[str, object], step.get(part) or {})
            for name in list(values):
                yield values, name
        yield from _step_places(step.get("children", []))


def _strip(steps: list[StepResult]) -> None:
    """Leaves of each result no more than what happened: MAX_STEPS of these fit into a record."""
    for step in steps:
        step.pop("inputs", None)
        step.pop("attempts", None)
        if "outputs" in step:
            step["outputs"] = {"_cut": True}
        if "error" in step:
            error = step["error"]
            step["error"] = {**error, "message": error["message"][:_SHORT_MESSAGE]}
        _strip(step.get("children", []))
