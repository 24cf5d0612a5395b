"""What becomes of a run that is not at its end: a decision of its own, with the reason, made of facts alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from headrace.contracts.jobs import Retried
from headrace.contracts.runs import ErrorInfo, Next


class GaveUp(NamedTuple):
    """A step failed in a way that may pass, and its policy is to try again later.

    `retry_after` are the seconds that the other side asked us to wait.
    """

    step: str
    error: ErrorInfo
    retry_after: float | None = None


class HandOver(NamedTuple):
    """The run was asked to leave: its next segment begins when the first retry tier gives it out."""

    def as_told(self) -> Next:
        """As the run's record says it."""
        return {"what": "hand_over", "why": "it held its partition back, and goes on elsewhere"}


class Hold(NamedTuple):
    """The run's automation is paused: it goes on once that is over."""

    why: str

    def as_told(self) -> Next:
        """As the run's record says it."""
        return {"what": "pause", "why": self.why}


class Postpone(NamedTuple):
    """The run may not start yet: `until` is its place among the starts that its automation's rate allows."""

    until: datetime
    tier: float
    """Seconds for which the job waits in a retry tier meanwhile, or for the first part of it."""

    def as_told(self) -> Next:
        """As the run's record says it."""
        return {"what": "rate", "why": "its automation's rate allows no earlier start", "due": self.until}


class Retry(NamedTuple):
    """The run leaves for a retry tier, and resumes at the step that failed."""

    tier: float
    """Seconds that it waits there."""
    retried: Retried
    of: int
    """How many attempts there are."""

    def as_told(self) -> Next:
        """As the run's record says it."""
        found = self.retried
        return {
            "what": "retry",
            "why": f"step {found.step} failed ({found.error_type}); attempt {found.attempt} of {self.of}",
            "due": found.due,
        }


class Awaited(NamedTuple):
    """An event that a step waits for: of this type and key, written since `since`, by `until`.

    `step` is the step's key. `after` is the place of the last event that was not meant. `over` is when the step waits
    no longer, where that is later than `until`: in its segment `looked` (with the generation before it) it asked once
    more for what had come by then.
    """

    step: str
    type: str
    key: str
    since: datetime
    until: datetime
    after: int
    over: datetime | None = None
    looked: tuple[int, int] = (-1, -1)


class Park(NamedTuple):
    """The run waits for a moment, or for the first of these events before it; no worker is held for it."""

    until: datetime
    step: str
    events: tuple[Awaited, ...] = ()

    def as_told(self) -> Next:
        """As the run's record says it."""
        if not self.events:
            return {"what": "timer", "why": f"step {self.step} waits", "due": self.until}
        found, others = self.events[0], len(self.events) - 1
        more = f", and for {others} more" if others else ""
        why = f"waits for an event {found.type} with key {found.key}{more}; step {self.step} waits no longer than this"
        return {"what": "event", "why": why, "due": self.until}


class DeadLetter(NamedTuple):
    """Nothing happens by itself any more: the run waits for a person."""

    error: ErrorInfo
    why: str

    def as_told(self) -> Next:
        """As the run's record says it."""
        return {"what": "dead_letter", "why": self.why}


Decision = HandOver | Hold | Postpone | Retry | Park | DeadLetter

Leave = HandOver | Hold
"""Why a run may be asked to leave its worker at a next step."""


def after_giving_up(gave_up: GaveUp, attempt: int, tiers: Sequence[float], now: datetime) -> Retry | DeadLetter:
    """The next tier, or the longer one that the other side's wish is rounded up to; after the last one a dead letter.

    `tiers` are seconds, ascending: the n-th failed attempt waits in the n-th. `attempt` begins at 1.
    """
    of = len(tiers) + 1
    if attempt >= of:
        return DeadLetter(gave_up.error, f"attempt {attempt} of {of} failed at step {gave_up.step}")
    asked = gave_up.retry_after or 0.0
    tier = next((tier for tier in tiers[attempt - 1 :] if tier >= asked), None)
    if tier is None:
        return DeadLetter(
            gave_up.error, f"step {gave_up.step} is asked to wait {asked:g} s, longer than the last retry tier"
        )
    error = gave_up.error
    retried = Retried(
        attempt=attempt,
        step=gave_up.step,
        error_type=error["type"],
        message=error["message"],
        failed_at=now,
        due=now + timedelta(seconds=tier),
    )
    return Retry(tier, retried, of)
