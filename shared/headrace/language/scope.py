"""What one rendering sees and has used up."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import cast
from uuid import UUID

from headrace.language.errors import limit
from headrace.language.limits import FREE, ITEMS, ITERATIONS, UNIT, WORK, size_of

RUN_ROOTS = frozenset((
    "env", "settings", "now", "trigger", "steps", "stepsById", "stepsByName", "previous", "loop", "item", "item_index",
    "secrets", "user", "state", "run", "_stepIndex", "_error",
))  # fmt: skip
GROWING_ROOTS = frozenset(("steps", "stepsById", "stepsByName", "state"))
"""Those that a run adds to as it goes: as a whole value, a template gives what they hold by then, up to its limit."""
TRIGGER_ROOTS = frozenset((
    "now", "trigger", "row", "old_row", "changed", "id", "body", "headers", "query", "fields", "event", "data",
    "timestamp",
))  # fmt: skip
"""What an event says, and nothing of an app's configuration: whoever matches events does not have it."""

_FALSE = len("false")

_PER_VALUE = 2 * UNIT
"""A value inside an array or object that is gone through takes two units."""


class Scope:
    """`roots` are plain data by name. `key` is the step key: `uuid()` and `random()` derive from it and from how many
    were asked under it before, so that a run that is made again sees the same. `now` is aware."""

    __slots__ = ("_drawn", "_items", "_turns", "_work", "key", "locals", "now", "roots")

    def __init__(self, roots: Mapping[str, object], key: str, now: datetime) -> None:
        self.roots = roots
        self.key = key
        self.now = now
        self.locals: dict[str, object] = {}
        # By step key: a loop's own conditions are seen again after each of its children.
        self._drawn: dict[str, int] = {}
        self._items = 0
        self._turns = 0
        self._work = 0

    def begin(self) -> None:
        """A rendering begins: it has its own budget and variables."""
        self._items = 0
        self._turns = 0
        self._work = 0
        self.locals = {}

    def make(self, count: int) -> None:
        """Counts items of an array that is made or gone through by a filter against the limit."""
        self._items += count
        if self._items > ITEMS:
            raise limit(f"more than {ITEMS} items of arrays")

    def turn(self, count: int = 1) -> None:
        """Counts loop turns against the limit."""
        self._turns += count
        if self._turns > ITERATIONS:
            raise limit(f"more than {ITERATIONS} iterations")

    def work(self, units: int) -> None:
        """Counts units of work against the limit."""
        self._work += units
        if self._work > WORK:
            raise limit(f"more than {WORK} units of work; do less in one template, or on less data")

    def go_through(self, value: object) -> None:
        """Counts the work of reading all of a text, array or object."""
        if type(value) is str:
            if len(value) > FREE:
                self.work(len(value) // UNIT)
        elif isinstance(value, list | tuple | Mapping):
            most = (WORK - self._work + 1) * UNIT
            self.work(size_of(cast(object, value), most, _PER_VALUE) // UNIT)

    def is_true(self, value: object) -> bool:
        """Whether a value counts as true, wherever that is asked: not so nothing, false, 0, what has nothing in it, and
        text that is `false` in whatever case, or only white space. See docs/conditions.md."""
        if not isinstance(value, str):
            return bool(value)
        self.go_through(value)
        text = value.strip()
        return text.lower() != "false" if len(text) == _FALSE else text != ""

    def uuid(self) -> str:
        """The next UUID of this step."""
        return str(UUID(bytes=self._draw()[:16], version=5))

    def random(self) -> float:
        """The next number of this step, 0 ≤ x < 1."""
        return (int.from_bytes(self._draw()[:8], "big") >> 11) / (1 << 53)

    def _draw(self) -> bytes:
        drawn = self._drawn[self.key] = self._drawn.get(self.key, 0) + 1
        return sha256(f"{self.key}\n{drawn}".encode()).digest()
