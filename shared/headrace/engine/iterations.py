"""A loop's items, and what its iterations came to."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
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

    def __init__(self, keep: int, ids: Sequence[str]) -> None:
        self._keep = keep
        self._ids = ids
        self._items: dict[int, object] = {}
        self._kept: deque[tuple[int, list[StepResult]]] = deque()
        self._failures: dict[int, ErrorInfo] = {}
        self.skipped = 0

    def done(self, index: int, results: list[StepResult], error: ErrorInfo | None) -> None:
        """An iteration is through; `error` is its first failure."""
        outputs = [result.get("outputs") for result in results]
        # One step inside: the item is what it gave, as in the loops that people come from.
        # Fewer outputs than steps: the iteration was left early.
        is_alone = len(self._ids) == 1 and len(outputs) == 1
        self._items[index] = outputs[0] if is_alone else dict(zip(self._ids, outputs, strict=False))
        if error is not None:
            self._failures[index] = error
        for result in results:
            result["iteration"] = index
        if self._keep:
            self._kept.append((index, results))
            if len(self._kept) > self._keep:
                self._kept.popleft()

    @property
    def children(self) -> list[StepResult]:
        """The steps' results of the last iterations."""
        return [result for _, results in sorted(self._kept, key=_index) for result in results]

    def outputs(self) -> dict[str, object]:
        """The loop's outputs, beside `success`."""
        first = min(self._failures, default=None)
        return {
            "items": [self._items[index] for index in sorted(self._items)],
            "iterations": len(self._items),
            "summary": {
                "processed": len(self._items),
                "succeeded": len(self._items) - len(self._failures),
                "failed": len(self._failures),
                "skipped": self.skipped,
                "first_failure": None if first is None else {"index": first, "error": self._failures[first]},
            },
        }

    def failure(self) -> StepError | None:
        """The loop's own error where iterations failed: none of them is hidden behind a success."""
        if not self._failures:
            return None
        first = min(self._failures)
        error = self._failures[first]
        return StepError(
            "iterations_failed",
            f"{len(self._failures)} of {len(self._items)} iterations failed; first item {first}: {error['message']}",
            outputs=self.outputs(),
        )


def _index(kept: tuple[int, list[StepResult]]) -> int:
    return kept[0]
