"""`log`: a line in the run's record."""

from typing import ClassVar

from headrace.engine.run import Run
from headrace.engine.steps.base import Compute, Inputs, Outputs, PureStep, checked
from headrace.engine.steps.inputs import Text


class LogInputs(Inputs):
    """`text` is the line; what is no text is written as JSON."""

    text: Text


class Log(PureStep):
    """Keeps a line of text in the run's record."""

    use = "log"
    inputs = LogInputs
    outputs: ClassVar[dict[str, str]] = {"text": "the line as it was written"}
    effect = "none"
    errors: ClassVar[dict[str, str]] = {"bad_input": "`text` is not there"}
    example = """
- id: note
  use: log
  with: {text: "Flight {{ trigger.row.flight }} is {{ trigger.row.dep_delay }} minutes late"}
"""

    def bind(self, rendered: Outputs) -> Compute:
        """Validates `text`."""
        text = checked(LogInputs, rendered).text

        def compute(run: Run) -> Outputs:
            return {"success": True, "text": text}

        return compute
