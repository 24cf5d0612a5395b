"""A loop's items, and what its iterations came to."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Literal, cast

import orjson

from headrace.contracts.runs import ErrorInfo, StepResult
from headrace.engine.errors import StepError


def items_of(over: object, option: Literal["array", "string"] | None) -> Sequence[object]:
    """The items of a loop over this value; raises StepError `incorrect_type`.

    Text is JSON if it is an array's, else lines if there are several, else parts between commas, trimmed.
    """
    if over is None:
        return ()
    if isinstance(over, str) and option != "array":
        return _parts(over)
    if isinstance(over, list | tuple) and option != "string":
        return cast(Sequence[object], over)
    wanted = {"array": "an array", "string": "text"}.get(option or "", "an array, or text")
    raise StepError("incorrect_type", f"loop.over: it gave {_kind(cast(object, over))}; {wanted} is expected")


def _parts(text: str) -> Sequence[object]:
    try:
        parsed = orjson.loads(text)
        if isinstance(parsed, list):
            return cast(list[object], parsed)
        if isinstance(parsed, dict):
            raise StepError("incorrect_type", "loop.over: it gave the JSON text of an object; an array's is expected")
    except orjson.JSONDecodeError:
        pass
    parts = text.splitlines() if re.search(r"[\r\n]", text.strip()) else text.split(",")
    return [part.strip() for part in parts if part.strip()]


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return "text" if isinstance(value, str) else "an array" if isinstance(value, list | tuple) else "another type"


class Iterations:
    """What the iterations of one loop came to: told in any order, given in the order of the items."""

    def __init__(self, keep: int, keep_items: int, ids: Sequence[str]) -> None:
        self._keep = keep
        self._keep_items = keep_items
        self._ids = ids
        self._items: deque[tuple[int, object, int]] = deque()
        self._kept: deque[tuple[int, list[StepResult]]] = deque()
        self._done = self._failed = 0
        self._first_failure: tuple[int, ErrorInfo] | None = None
        self.skipped = 0

    def done(self, index: int, results: list[StepResult], error: ErrorInfo | None, size: int = 0) -> int:
        """An iteration is through; `error` is its first failure. Says the `size` of what is let go for it."""
        self._done += 1
        outputs = [result.get("outputs") for result in results]
        # One step inside: the item is what it gave, as in the loops that people come from.
        # Fewer outputs than steps: the iteration was left early.
        is_alone = len(self._ids) == 1 and len(outputs) == 1
        item = outputs[0] if is_alone else dict(zip(self._ids, outputs, strict=False))
        self._items.append((index, item, size))
        if error is not None:
            self._failed += 1
            if self._first_failure is None or index < self._first_failure[0]:
                self._first_failure = index, error
        for result in results:
            result["iteration"] = index
        if self._keep:
            self._kept.append((index, results))
            if len(self._kept) > self._keep:
                self._kept.popleft()
        return self._items.popleft()[2] if len(self._items) > self._keep_items else 0

    @property
    def children(self) -> list[StepResult]:
        """The steps' results of the last iterations."""
        return [result for _, results in sorted(self._kept, key=itemgetter(0)) for result in results]

    def outputs(self) -> dict[str, object]:
        """The loop's outputs, beside `success`."""
        first = self._first_failure
        return {
            "items": [item for _, item, _ in sorted(self._items, key=itemgetter(0))],
            "iterations": self._done,
            "summary": {
                "processed": self._done,
                "succeeded": self._done - self._failed,
                "failed": self._failed,
                "skipped": self.skipped,
                "first_failure": None if first is None else {"index": first[0], "error": first[1]},
            },
        }

    def failure(self) -> StepError | None:
        """The loop's own error where iterations failed: none of them is hidden behind a success."""
        if self._first_failure is None:
            return None
        first, error = self._first_failure
        return StepError(
            "iterations_failed",
            f"{self._failed} of {self._done} iterations failed; first item {first}: {error['message']}",
            outputs=self.outputs(),
        )
