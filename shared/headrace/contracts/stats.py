"""What one transaction's runs of one automation came to: counts, consecutive errors, durations."""

from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

# typing's own TypedDict is refused by pydantic before Python 3.12; typing_extensions comes with pydantic.
from typing_extensions import TypedDict

from headrace.contracts.errors import ContractError
from headrace.contracts.runs import RunStatus
from headrace.contracts.validation import explain

ERRORS: frozenset[RunStatus] = frozenset(("error", "timed_out", "dead_lettered"))
"""Ends that count as the automation's failure."""

SUCCESSES: frozenset[RunStatus] = frozenset(("success", "stopped"))
"""Ends that break a row of failures. A cancelled run is neither: a person ended it."""


class Streak(NamedTuple):
    """Failures in a row within some runs, in a form that is joined with what came before and after.

    `first` and `last` are the failures before the first and after the last success, `longest` the most in a row
    anywhere; without a success all are the same.
    """

    first: int
    last: int
    longest: int
    has_success: bool

    def then(self, later: "Streak") -> "Streak":
        """The streak of these runs and `later` ones together."""
        return Streak(
            self.first if self.has_success else self.first + later.first,
            later.last if later.has_success else self.last + later.last,
            max(self.longest, self.last + later.first, later.longest),
            self.has_success or later.has_success,
        )


@with_config(ConfigDict(extra="ignore"))
class Delta(TypedDict):
    """The runs of one version of one automation that ended in one transaction: counted by their final status, with the
    failures in a row among them (as in Streak) and their durations (`sketch.Sketch`). `time` is when the transaction
    was made.

    A run counts at the end of each of its generations. A duplicate event's run without effects is done, and counts,
    twice.
    """

    format: Literal[1]
    app: str
    automation: str
    version: int
    is_cron: bool
    ended: dict[RunStatus, int]
    errors_first: int
    errors_last: int
    errors_longest: int
    durations: dict[int, int]
    time: datetime


def streak_of(delta: Delta) -> Streak:
    """The delta's failures in a row."""
    has_success = not SUCCESSES.isdisjoint(delta["ended"])
    return Streak(delta["errors_first"], delta["errors_last"], delta["errors_longest"], has_success)


_ADAPTER: TypeAdapter[Delta] = TypeAdapter(Delta)


def read_delta(value: bytes | None) -> Delta:
    """The delta in a record's value; raises ContractError."""
    try:
        return _ADAPTER.validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "stats")) from None
