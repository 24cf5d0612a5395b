"""How a run's parts say that something went wrong, and whose fault it is."""

from collections.abc import Mapping

from headrace.contracts.runs import ErrorInfo

MAX_MESSAGE = 1000
"""Characters of an error's message in a record: enough for a sentence and a path, too few to carry a whole answer."""


class PlatformUnavailable(Exception):
    """MongoDB or another part of the platform is away.

    Never the automation's error: it leaves `execute()`, the run leaves no record, and the caller stops its intake.
    """


class StepCrashed(Exception):
    """A step raised what no step may raise: a bug of ours, with the original as `__cause__`.

    It leaves `execute()` as well. As an error of the step it would be contained, the run recorded as `error`, the
    automation disabled after five of them, and nothing would bring these runs back once the bug is mended; as an
    exception the job becomes a dead letter with this message, and a redrive makes the run again under the same step
    keys. The message holds names only: the original's text may quote the author's data.
    """

    def __init__(self, run_id: str, step: str, cause: Exception) -> None:
        self.run_id = run_id
        self.step = step
        self.type = "internal_error"
        self.message = f"step {step} of run {run_id} crashed with {type(cause).__name__}: a bug of Headrace"
        super().__init__(self.message)


class StepError(Exception):
    """A step failed, for a reason that the author, the data or an outside party gave.

    `retry_after` are the seconds that the other side asked us to wait; `outputs` is what the step learnt nevertheless
    (an answer's status and body), which templates see beside `success: false`. `nothing_done`: it is certain that the
    call had no effect, so that even one that is made at most once may be made again. The message never quotes inputs.
    """

    def __init__(
        self,
        type: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        nothing_done: bool = False,
        outputs: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
        self.retryable = retryable
        self.retry_after = retry_after
        self.nothing_done = nothing_done
        self.outputs = outputs

    @property
    def info(self) -> ErrorInfo:
        """As it stands in a record."""
        return {"type": self.type, "message": self.message, "retryable": self.retryable}


class StepTimeout(StepError):
    """A step's own timeout passed."""

    def __init__(self, seconds: float, outputs: Mapping[str, object] | None = None) -> None:
        text = f"the step's timeout of {seconds:g} s passed"
        super().__init__("timeout", text, retryable=True, outputs=outputs)
