"""What was seen from outside: plain facts, without a judgement. All times are microseconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.chaos.loads.base import ExpectedRun, Pause
from headrace.storage.inspection import StoredRow, StoredRun


class Place(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job on a jobs or retry topic. `retry` says which of the two; `appended` is when the broker took it, to the
    millisecond."""

    place: Place
    run: str
    app: str
    automation: str
    key: str
    generation: int
    segment: int
    attempt: int
    retry: bool
    appended: int = 0

    @property
    def lane(self) -> tuple[str, str, str]:
        """What orders jobs: app, automation, ordering key."""
        return self.app, self.automation, self.key


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run record on the topic of runs; `appended` is when the broker took it, to the millisecond.

    `due` is when the run goes on, where it waits for a time, and `waits_for` what for. `done` are the ids of the steps
    that it has succeeded in.
    """

    place: Place
    appended: int
    run: str
    automation: str
    event: str
    source: str
    status: str
    final: bool
    generation: int
    sequence: int
    attempt: int
    job: Place
    started: int
    collected: object
    due: int | None = None
    waits_for: str = ""
    done: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeadLetterSeen:
    """A dead letter: the record it points at (None where it carries the job itself), its run where one is named."""

    place: Place
    source: Place | None
    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A call as the recorder saw it. `answered` and `status` are None if it was cut off before."""

    arrived: int
    method: str
    path: str
    key: str
    run: str
    event: str
    answered: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """A fault that really was injected, a death by poison, or the `start` of an orchestrator, which ends when it is
    ready and takes partitions: what, whom it met, and from when to when."""

    kind: str
    target: str
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Stand:
    """A partition as a group sees it: its committed offset (-1 without one) and the end for `read_committed`."""

    committed: int
    end: int
    first: int = 0

    @property
    def lag(self) -> int:
        """Records between the two."""
        return self.end - max(self.first, self.committed)


class PartitionOf(NamedTuple):
    """A partition and the group that reads it."""

    group: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.group} on {self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class TimerSeen:
    """A timer that is not fired: its id, which is its run's, its place, and when it is due."""

    place: Place
    id: str
    due: str


@dataclass(frozen=True, slots=True)
class CancelSeen:
    """That somebody asked for the end of a run, and when Kafka had confirmed it; None where that is not known."""

    run: str
    confirmed: int | None


@dataclass(frozen=True, slots=True)
class RecallSeen:
    """That somebody asked at `asked` for the end of all runs of an automation, and when that was confirmed; None where
    that is not known."""

    automation: str
    asked: int
    confirmed: int | None = None


@dataclass(frozen=True, slots=True)
class HoldSeen:
    """A pause of an automation: when every process that lived had confirmed that it knows it, and when somebody first
    asked for its resumption."""

    automation: str
    known: int
    resumed: int


@dataclass(frozen=True, slots=True)
class TickSeen:
    """A tick: the time that it stands for, and when the broker took it, to the millisecond."""

    place: Place
    appended: int
    automation: str
    scheduled: int


@dataclass(frozen=True, slots=True)
class ClockSeen:
    """A clock that was live from `since` on. All its times up to `sure_until` had a run that had ended when it was
    asked to be withdrawn; after `until` it was."""

    automation: str
    since: int
    sure_until: int
    until: int


@dataclass(frozen=True, slots=True)
class DeltaSeen:
    """A record of the stats topic: runs of an automation that ended, by status."""

    place: Place
    automation: str
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CountsSeen:
    """What a process of insights answers for an automation: runs by status since the beginning, and of the last day."""

    process: str
    automation: str
    total: Mapping[str, int]
    day: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GaveUpSeen:
    """A process that ended itself and said why: its pid, when it was last seen alive, and when its end was noticed."""

    target: str
    pid: int
    alive: int
    at: int
    reason: str


Stands = Mapping[PartitionOf, Stand]


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process that the harness started and that ended, or lives on, in a way nobody asked for."""

    name: str
    pid: int
    what: str


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything the judge gets."""

    expected: tuple[ExpectedRun, ...] = ()
    uncertain: frozenset[str] = frozenset()
    """Events whose publication Kafka never confirmed: they may have led to something or not."""
    jobs: tuple[JobSeen, ...] = ()
    runs: tuple[RunSeen, ...] = ()
    dead_letters: tuple[DeadLetterSeen, ...] = ()
    stored_runs: tuple[StoredRun, ...] = ()
    rows: tuple[StoredRow, ...] = ()
    calls: tuple[HttpCall, ...] = ()
    never_twice: frozenset[str] = frozenset()
    faults: tuple[FaultSeen, ...] = ()
    after_faults: Stands = field(default_factory=dict[PartitionOf, Stand])
    """Where the groups stood at the first look once the last fault and the load were over."""
    at_end: Stands = field(default_factory=dict[PartitionOf, Stand])
    quiet: bool = True
    """Whether the system came to rest before the deadline."""
    leaked: tuple[ProcessSeen, ...] = ()
    timers: tuple[TimerSeen, ...] = ()
    """Those left at the end."""
    open_heads: tuple[str, ...] = ()
    """Runs that somebody owns at the end: their heads do not expire."""
    cancels: tuple[CancelSeen, ...] = ()
    redrives: int = 0
    """How often letters were redriven, those that were cut off included."""
    pauses: tuple[Pause, ...] = ()
    recalls: tuple[RecallSeen, ...] = ()
    holds: tuple[HoldSeen, ...] = ()
    clocks: tuple[ClockSeen, ...] = ()
    ticks: tuple[TickSeen, ...] = ()
    deltas: tuple[DeltaSeen, ...] = ()
    counts: tuple[CountsSeen, ...] = ()
    """Of all living processes of insights, once they had had the time to count."""
    died: tuple[ProcessSeen, ...] = ()
    """Processes that ended by themselves where no poison was in the load, and did not say why."""
    gave_up: tuple[GaveUpSeen, ...] = ()
