"""The state of one run under way: what its templates see, and what its record and publications will be made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.runs import ErrorInfo, StepResult
from headrace.engine.journal import Journal
from headrace.engine.keys import key_prefix
from headrace.engine.ports import OutcomeT, Ports, RowEffect
from headrace.engine.publications import Publication
from headrace.language import Scope

NOTHING: Mapping[str, object] = {}
"""`env`, `secrets` and `user`: known roots that are empty until the issues that fill them."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job as it was read: `location` and `job_time` are the job record's place and timestamp (aware, UTC).

    `job_time` is what templates see as `now`: a run that is made again sees the same.
    """

    job: Job
    location: Location
    job_time: datetime


def never() -> bool:
    """The default of `Run.is_asked_to_leave`: nobody asks."""
    return False


class Run:
    """One run under way. Steps read `job`, `now`, `key` and `ports`, and append to `publications`.

    `deadline` is a moment of `Clock.perf`; `deadline_of` is the path of the step whose timeout it is, "" for the run's.
    """

    __slots__ = (
        "_prefix",
        "_roots",
        "_steps",
        "_steps_by_id",
        "_steps_by_name",
        "collected",
        "deadline",
        "deadline_of",
        "first_error",
        "has_collected",
        "is_asked_to_leave",
        "job",
        "journal",
        "now",
        "only_recorded",
        "ports",
        "publications",
        "result",
        "results",
        "scope",
    )

    def __init__(
        self,
        started: Started,
        ports: Ports,
        deadline: float,
        journal: Journal | None = None,
        is_asked_to_leave: Callable[[], bool] = never,
    ) -> None:
        job = started.job
        self.journal = journal
        self.is_asked_to_leave = is_asked_to_leave
        self.only_recorded = False
        """Inside a branch that had run out of its time: what it had done is replayed, and nothing more is done."""
        self.result: StepResult | None = None
        """Of the step under way."""
        self.job = job
        self.now = started.job_time
        self.ports = ports
        self.deadline = deadline
        self.deadline_of = ""
        self.results: list[StepResult] = []
        self.publications: list[Publication] = []
        self.first_error: ErrorInfo | None = None
        self.has_collected = False
        self.collected: object = None
        self._prefix = key_prefix(job)
        self._steps: dict[str, object] = {"0": job.trigger}
        self._steps_by_id: dict[str, object] = {}
        self._steps_by_name: dict[str, object] = {}
        self._roots: dict[str, object] = {
            "trigger": job.trigger,
            "steps": self._steps,
            "stepsById": self._steps_by_id,
            "stepsByName": self._steps_by_name,
            "previous": job.trigger,
            "env": NOTHING,
            "secrets": NOTHING,
            "user": NOTHING,
            "settings": ports.settings,
            "state": {},
            "run": {
                "id": job.run_id,
                "automation": job.automation,
                "version": job.version,
                "attempt": job.attempt,
                "generation": job.generation,
                "replay": job.replay,
                # The job's time, not the worker's: a run that is made again must render the same.
                "started_at": started.job_time,
            },
            "now": started.job_time,
            "_stepIndex": 0,
            "_error": False,
        }
        self.scope = Scope(self._roots, self._prefix, started.job_time)

    @property
    def key(self) -> str:
        """The step key of the step under way."""
        return self.scope.key

    async def change_row(
        self, effect: RowEffect[OutcomeT], outputs_of: Callable[[OutcomeT], dict[str, object]]
    ) -> dict[str, object]:
        """Does what the step under way does to a row, with its result in the journal: both or neither.

        Answers `outputs_of` the outcome. Raises what RowStore.apply and RunHeads.append_with_row do.
        """
        journal, result = self.journal, self.result
        if journal is None or result is None:
            return outputs_of(await self.ports.rows.apply(effect))
        return await journal.write_with_row(self.key, result, effect, outputs_of)

    def enter(self, path: str, position: int) -> None:
        """A step begins: `uuid()` and `random()` now derive from its key."""
        self.scope.key = f"{self._prefix}{path}/0"
        self._roots["_stepIndex"] = position

    def leave(self, names: tuple[str, ...], id: str, name: str, outputs: Mapping[str, object]) -> None:
        """A step is done; `names` are those under which `steps` gives its outputs."""
        steps = self._steps
        for alias in names:
            steps[alias] = outputs
        self._steps_by_id[id] = outputs
        self._steps_by_name[name] = outputs
        self._roots["previous"] = outputs

    def failed(self, error: ErrorInfo) -> None:
        """A step failed: the run will be an `error` whether it goes on or not."""
        if self.first_error is None:
            self.first_error = error
        self._roots["_error"] = True

    def collect(self, value: object) -> None:
        """The run's answer; a later one replaces an earlier."""
        self.collected = value
        self.has_collected = True
