"""Whether a worker gets on: Faust was seen to stop without a word, so its word is not asked for."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a worker.

    `positions` are how far it is and `ends` where the records end, by partition; `is_settled`: it takes part in its
    group and has its rows. `moves` is what changes while it is on the way there.
    """

    positions: Mapping[int, int]
    ends: Mapping[int, int]
    is_settled: bool
    moves: Hashable = None


class Progress:
    """Remembers when the worker last got on: it came further, or had nothing to do."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: Look | None = None
        self._at = clock()

    def see(self, look: Look) -> None:
        """Takes note of another look."""
        last, self._last = self._last, look
        if last is None or (look.positions, look.moves) != (last.positions, last.moves) or _is_done(last, look):
            self._at = self._clock()

    def excuse(self) -> None:
        """It waits for a platform part that is away, which no restart brings back."""
        self._at = self._clock()

    def stalled_s(self) -> float:
        """Seconds since it last got on; a look that never comes counts too."""
        return self._clock() - self._at


def _is_done(last: Look, look: Look) -> bool:
    # Against the ends of the look before: what came since may well be under way.
    return look.is_settled and all(look.positions.get(each, -1) >= end for each, end in last.ends.items())
