"""What one rendering sees and has used up."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from headrace.language.errors import limit
from headrace.language.limits import ITERATIONS

_COMMON = frozenset(("env", "settings", "now"))
RUN_ROOTS = _COMMON | {
    "trigger", "steps", "stepsById", "stepsByName", "previous", "loop", "item", "item_index", "secrets", "user",
    "state", "run", "_stepIndex", "_error",
}  # fmt: skip
TRIGGER_ROOTS = _COMMON | {
    "trigger", "row", "old_row", "changed", "id", "body", "headers", "query", "fields", "event", "data", "timestamp",
}  # fmt: skip


class Scope:
    """`roots` are plain data by name. `key` is the step key: `uuid()` and `random()` derive from it and from how many
    were asked before, so that a run that is made again sees the same. `now` is aware."""

    __slots__ = ("_drawn_for", "_turns", "draws", "key", "locals", "now", "roots")

    def __init__(self, roots: Mapping[str, object], key: str, now: datetime) -> None:
        self.roots = roots
        self.key = key
        self.now = now
        self.locals: dict[str, object] = {}
        self.draws = 0
        self._drawn_for = key
        self._turns = 0

    def begin(self) -> None:
        """A rendering begins: it has its own budget and variables."""
        self._turns = 0
        self.locals = {}

    def turn(self, count: int = 1) -> None:
        """Counts loop turns against the limit."""
        self._turns += count
        if self._turns > ITERATIONS:
            raise limit(f"more than {ITERATIONS} iterations")

    def uuid(self) -> str:
        """The next UUID of this step."""
        return str(UUID(bytes=self._draw()[:16], version=5))

    def random(self) -> float:
        """The next number of this step, 0 ≤ x < 1."""
        return (int.from_bytes(self._draw()[:8], "big") >> 11) / (1 << 53)

    def _draw(self) -> bytes:
        if self._drawn_for != self.key:
            self._drawn_for, self.draws = self.key, 0
        self.draws += 1
        return sha256(f"{self.key}\n{self.draws}".encode()).digest()
