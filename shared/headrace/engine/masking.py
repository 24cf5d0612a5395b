"""Secrets out of what people read: whatever a run stores or shows has `***` where a secret's value would stand.

Found is what is written as it is, or as JSON, HTML or a URL would write it; not what was computed from it (a hash,
Base64, a number). What a run sends or writes on purpose is not touched.
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import cast
from urllib.parse import quote, quote_plus

import orjson

from headrace.contracts.automation import Automation, UseStep, walk
from headrace.contracts.runs import Attempt, ErrorInfo, RunRecord, StepResult
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.web.urls import MASK

SHORTEST = 4
"""Characters: a shorter value stands in too many words by chance, and masking it would tell what it is."""

_ROOT = "secrets"


class Mask:
    """Replaces the values it was made of. Immutable; costs a search per value and text."""

    __slots__ = ("_values",)

    def __init__(self, values: Iterable[str]) -> None:
        spelt = {each for value in values if len(value) >= SHORTEST for each in _spellings(value)}
        # The longest first: one secret may begin another.
        self._values = tuple(sorted(spelt, key=len, reverse=True))

    def __bool__(self) -> bool:
        return bool(self._values)

    def text(self, text: str) -> str:
        """`text` with every value replaced."""
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def value(self, value: object) -> object:
        """A copy of `value` in which every text, names included, is masked; what is too deep to be kept is one mask."""
        return self._masked(value, 0) if self._values else value

    def record(self, record: RunRecord) -> RunRecord:
        """A copy of `record` with the authors' values in it masked; the run's own values stay as they are."""
        if not self._values:
            return record
        masked = record.copy()
        masked["steps"] = [self._step(step) for step in record["steps"]]
        masked["error"] = self.error(record["error"])
        if "collected" in record:
            masked["collected"] = self._masked(record["collected"], 0)
        return masked

    def _masked(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            if depth >= MAX_DEPTH:
                return MASK
            items = cast(Mapping[object, object], value).items()
            return {self._masked(name, depth + 1): self._masked(item, depth + 1) for name, item in items}
        if isinstance(value, list | tuple | set | frozenset):
            if depth >= MAX_DEPTH:
                return MASK
            return [self._masked(item, depth + 1) for item in cast(Iterable[object], value)]
        return value

    def _step(self, step: StepResult) -> StepResult:
        masked = step.copy()
        for part in ("inputs", "outputs"):
            if part in step:
                masked[part] = self._masked(step.get(part), 0)
        if "error" in step:
            masked["error"] = self._error_of(step["error"])
        if "attempts" in step:
            masked["attempts"] = [self._attempt(each) for each in step["attempts"]]
        if "children" in step:
            masked["children"] = [self._step(child) for child in step["children"]]
        return masked

    def _attempt(self, attempt: Attempt) -> Attempt:
        return {**attempt, "error": self.error(attempt["error"])}

    def error(self, error: ErrorInfo | None) -> ErrorInfo | None:
        """A copy of `error` with its message masked."""
        return None if error is None else self._error_of(error)

    def _error_of(self, error: ErrorInfo) -> ErrorInfo:
        return {**error, "message": self.text(error["message"])}


NO_MASK = Mask(())
"""Leaves everything as it is."""


def can_see_secrets(automation: Automation) -> bool:
    """Whether a run of it can come to know a secret: the word `secrets` stands anywhere in it, or a step uses a
    connection, whose other side may quote what it was given.

    The name of a root cannot be computed, so an automation without the word has no way to one.
    """
    if any(isinstance(step, UseStep) and "connection" in step.with_ for step in walk(automation.steps)):
        return True
    return any(_ROOT in text for text in _texts(automation.model_dump()))


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in cast(Mapping[object, object], value).items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in cast(Iterable[object], value):
            yield from _texts(item)


def _spellings(value: str) -> Iterable[str]:
    """As it is, inside of JSON, of HTML, of a URL."""
    yield value
    yield escape(value)
    yield orjson.dumps(value.encode(errors="replace").decode())[1:-1].decode()
    yield quote(value, safe="", errors="replace")
    yield quote(value, errors="replace")
    yield quote_plus(value, errors="replace")
