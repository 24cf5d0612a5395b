"""The state of one run under way: what its templates see, and what its record and publications will be made of."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, cast

from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.resumptions import Answer
from headrace.contracts.runs import ErrorInfo, RunStatus, StepResult
from headrace.engine.cancelling import NEVER, Cancellation
from headrace.engine.context import AutomationContext
from headrace.engine.decisions import GaveUp, Leave, Park
from headrace.engine.journal import Journal
from headrace.engine.keys import key_prefix
from headrace.engine.masking import NO_MASK
from headrace.engine.ports import Ports
from headrace.engine.publications import Publication
from headrace.engine.rows import OutcomeT, RowEffect
from headrace.language import Scope

NO_TIME = timedelta(0)

NOTHING: Mapping[str, object] = {}
"""`user`: a known root that is empty until the issue that fills it."""


class Started(NamedTuple):
    """A job as it was read: `location` and `job_time` are the job record's place and timestamp (aware, UTC).

    `job_time` is what templates see as `now`: a run that is made again sees the same. `answer` is the event that the
    run was resumed with.
    """

    job: Job
    location: Location
    job_time: datetime
    answer: Answer | None = None


def never() -> Leave | None:
    """The default of `Run.leave_for`: nobody asks."""
    return None


class Run:
    """One run under way, or one strand of it beside others. Steps read `job`, `now`, `key` and `ports`, and append to
    `publications`.

    `deadline` is a moment of `Clock.perf`; `deadline_of` is the path of the step whose timeout it is, "" for the run's.
    """

    __slots__ = (
        "_changed",
        "_inside",
        "_left",
        "_prefix",
        "_roots",
        "_steps",
        "_steps_by_id",
        "_steps_by_name",
        "answer",
        "app",
        "cancellation",
        "collected",
        "deadline",
        "deadline_of",
        "end_status",
        "failures",
        "gave_up_on",
        "has_collected",
        "is_ended_beside",
        "job",
        "journal",
        "leave_for",
        "lets_others",
        "mask",
        "now",
        "only_recorded",
        "parked",
        "passed",
        "ports",
        "publications",
        "result",
        "results",
        "scope",
        "strands",
        "timed_out_by",
    )

    def __init__(
        self,
        started: Started,
        ports: Ports,
        deadline: float,
        journal: Journal | None = None,
        leave_for: Callable[[], Leave | None] = never,
        cancellation: Cancellation = NEVER,
    ) -> None:
        job = started.job
        self.journal = journal
        self.leave_for = leave_for
        """Why the run is asked to leave, if it is."""
        self.cancellation = cancellation
        self.lets_others = False
        """Whether it may suspend: a long computation gives others their turn."""
        self.only_recorded: Literal["replayed", "halted"] | None = None
        """Where what was done is replayed and nothing more is done: how a list of steps ends that has more."""
        self.is_ended_beside = False
        """Whether a strand beside this one may end the run."""
        self.strands = Strands()
        self.result: StepResult | None = None
        """Of the step under way."""
        self.answer = started.answer
        """What a step waited for, while the run was parked."""
        self.job = job
        self.now = started.job_time
        self.ports = ports
        self.app = app = ports.apps(job.app)
        """What is configured for the run's app."""
        self.mask = NO_MASK
        """For what the run leaves behind to be read."""
        self.deadline = deadline
        self.deadline_of = ""
        self.timed_out_by = ""
        """Whose `deadline_of` passed, while the ending `timed_out` is on its way there."""
        self.results: list[StepResult] = []
        self.publications: list[Publication] = []
        self.failures: list[Failure] = []
        self.gave_up_on: GaveUp | None = None
        """The failure that is worth another try later, where the run waits for that."""
        self.parked: Park | None = None
        """What the run waits for, while the ending `parked` is on its way there."""
        self.passed = NO_TIME
        """What the delays of a test run, which pass at once, have let pass: strands wait side by side."""
        self.end_status: RunStatus | None = None
        """What a `stop` step says."""
        self.has_collected = False
        self.collected: object = None
        self._prefix = key_prefix(job)
        self._inside = ""
        self._changed: dict[str, object] = {}
        self._left: list[tuple[tuple[str, ...], str, str, Mapping[str, object]]] | None = None
        self._steps: dict[str, object] = {"0": job.trigger}
        self._steps_by_id: dict[str, object] = {}
        self._steps_by_name: dict[str, object] = {}
        self._roots: dict[str, object] = {
            "trigger": job.trigger,
            "steps": self._steps,
            "stepsById": self._steps_by_id,
            "stepsByName": self._steps_by_name,
            "previous": job.trigger,
            "env": app.env,
            "secrets": app.secrets,
            "user": NOTHING if job.user is None else job.user,
            "settings": {**ports.settings, **app.settings} if app.settings else ports.settings,
            "state": {},
            "run": {
                "id": job.run_id,
                "automation": job.automation,
                "version": job.version,
                "attempt": job.attempt,
                "generation": job.generation,
                "replay": job.replay,
                # The first job's time, not the worker's: a run that is made again, or goes on, must render the same.
                "started_at": started.job_time if journal is None else journal.first_job_time(started.job_time),
            },
            "now": started.job_time,
            "_stepIndex": 0,
            "_error": False,
        }
        self.scope = Scope(self._roots, self._prefix, started.job_time)

    @property
    def is_in_loop(self) -> bool:
        """Whether the step under way is inside of a loop."""
        return bool(self._inside)

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

    @property
    def context(self) -> AutomationContext:
        """What templates see."""
        return cast(AutomationContext, self._roots)

    def enter(self, path: str, position: int) -> None:
        """A step begins: `uuid()` and `random()` now derive from its key."""
        self.scope.key = f"{self._prefix}{path}/{self._inside or '0'}"
        self._roots["_stepIndex"] = position

    def leave(self, names: tuple[str, ...], id: str, name: str, outputs: Mapping[str, object]) -> None:
        """A step is done; `names` are those under which `steps` gives its outputs."""
        steps = self._steps
        for alias in names:
            steps[alias] = outputs
        self._steps_by_id[id] = outputs
        self._steps_by_name[name] = outputs
        self._roots["previous"] = outputs
        if self._left is not None:
            self._left.append((names, id, name, outputs))

    @property
    def first_error(self) -> ErrorInfo | None:
        """Of the run's steps' errors the first."""
        return self.failures[0].error if self.failures else None

    def failed(self, error: ErrorInfo, key: str | None = None) -> None:
        """A step failed: the run will be an `error` whether it goes on or not. For `key` see Failure."""
        self.failures.append(Failure(error, key))
        self._roots["_error"] = True

    def go_on_at(self, time: datetime) -> None:
        """Templates see `time` as `now` from here on, as if a job written then had resumed the run."""
        self.now = self.scope.now = time
        self._roots["now"] = time

    def park(self, wish: Park) -> None:
        """A step waits; the run goes on at the first of all moments, or with the first of all events."""
        known = self.parked
        if known is not None:
            first = wish if wish.until < known.until else known
            wish = first._replace(events=(*known.events, *wish.events))
        self.parked = wish

    @contextmanager
    def seeing(self, roots: Mapping[str, object]) -> Generator[None]:
        """Within it templates see these roots too."""
        self._roots.update(roots)
        try:
            yield
        finally:
            for name in roots:
                del self._roots[name]

    def collect(self, value: object) -> None:
        """The run's answer; a later one replaces an earlier."""
        self.collected = value
        self.has_collected = True

    def set_state(self, values: Mapping[str, object]) -> None:
        """Sets names of the run's state."""
        # A new object: whoever took the state before, as a value, keeps what it was.
        self._roots["state"] = {**self.state, **values}
        self._changed.update(values)

    @property
    def state(self) -> Mapping[str, object]:
        """The run's state."""
        return cast("Mapping[str, object]", self._roots["state"])

    def begin_item(self, item: object, index: int, count: int, outer: "OuterItem") -> None:
        """An iteration begins: templates see its item, and keys carry its number."""
        loop = {"currentItem": item, "index": index, "count": count, "parent": outer.loop}
        self._roots.update(loop=loop, item=item, item_index=index)
        self._inside = f"{outer.inside}.{index}" if outer.inside else str(index)

    def outer_item(self) -> "OuterItem":
        """Where the run is with the loops around it, for `end_items`."""
        roots = self._roots
        return OuterItem(self._inside, roots.get("loop"), roots.get("item"), roots.get("item_index"))

    def end_items(self, outer: "OuterItem") -> None:
        """The loop is over: the one around it is seen again."""
        self._inside = outer.inside
        if outer.loop is None:
            for name in ("loop", "item", "item_index"):
                self._roots.pop(name, None)
        else:
            self._roots.update(loop=outer.loop, item=outer.item, item_index=outer.number)

    def fork(self, *, is_ended_beside: bool = False) -> "Run":
        """A strand that is done beside others: it sees what was done before, and of its siblings nothing.

        `is_ended_beside`: one of these may end the run.
        """
        twin = copy(self)
        twin.is_ended_beside = self.is_ended_beside or is_ended_beside
        twin._steps, twin._steps_by_id, twin._steps_by_name = (
            self._steps.copy(),
            self._steps_by_id.copy(),
            self._steps_by_name.copy(),
        )
        twin._roots = {
            **self._roots,
            "steps": twin._steps,
            "stepsById": twin._steps_by_id,
            "stepsByName": twin._steps_by_name,
        }
        twin.scope = Scope(twin._roots, self.scope.key, self.now)
        twin._left, twin._changed = [], {}
        twin.publications = []
        twin.failures = []
        twin.has_collected = False
        twin.parked = None
        return twin

    def join(self, twin: "Run", *, with_outputs: bool = True) -> None:
        """What a strand did becomes the run's; strands are joined in the order they are written, whoever was faster."""
        self.publications.extend(twin.publications)
        if twin.failures:
            self.failures.extend(twin.failures)
            self._roots["_error"] = True
        if twin.passed > self.passed:
            self.passed = twin.passed
            self.go_on_at(max(self.now, twin.now))
        self.gave_up_on = self.gave_up_on or twin.gave_up_on
        if twin.parked is not None:
            self.park(twin.parked)
        if twin.has_collected:
            self.collect(twin.collected)
        if twin._changed:
            self.set_state(twin._changed)
        self.end_status = self.end_status or twin.end_status
        if with_outputs:
            for each in twin._left or ():
                self.leave(*each)


class Strands:
    """What the strands of a run share. `are_halted`: one of them ended the run, the others do not begin another step.
    `steps`: how many they have begun together, whether these run now or were replayed."""

    __slots__ = ("are_halted", "have_answer", "held", "steps", "turned")

    def __init__(self) -> None:
        self.are_halted = False
        self.have_answer = False
        """The step that the run's answer is for has looked at it, whether it was meant or not."""
        self.steps = 0
        self.held = 0
        """Characters of steps' results, about; see engine.holding."""
        self.turned = 0.0
        """When others last had the event loop, of `Clock.perf`."""


class Failure(NamedTuple):
    """A step's failure; `key` is the step's, None where it must not be done again whatever becomes of the run."""

    error: ErrorInfo
    key: str | None


class OuterItem(NamedTuple):
    """The iteration around a loop; `inside` is its part of step keys, "" outside of loops."""

    inside: str
    loop: object
    item: object
    number: object
