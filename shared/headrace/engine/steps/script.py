"""`script.js` and `script.expression`: what an author computes."""

from hashlib import sha256
from typing import Annotated, ClassVar

from pydantic import Field

from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.scripts.messages import Script, ScriptFailed
from headrace.engine.steps.base import AwaitingStep, Compute, Inputs, Outputs, Perform, PureStep, checked
from headrace.engine.steps.inputs import JsonObject

MAX_CODE = 64 << 10
"""Characters of a script: what a template's source may have, too."""


class ScriptJsInputs(Inputs):
    """`code` is the body of a function: its `return` gives the value. It sees `inputs`, and `context.trigger` and
    `context.steps`, the outputs of the steps before by their ids.

    Data belongs into `inputs`: put into `code` by a template, it would be code.
    """

    code: Annotated[str, Field(min_length=1, max_length=MAX_CODE)]
    inputs: Annotated[JsonObject, Field(default_factory=dict)]


class ScriptJs(AwaitingStep):
    """Runs JavaScript, without network, files and timers, for at most 1.5 s and in 64 MB.

    A run that is made again computes the same: `Math.random()` derives from the step's key, the time is the run's.
    """

    use = "script.js"
    inputs = ScriptJsInputs
    outputs: ClassVar[dict[str, str]] = {
        "value": "what the function returned, as JSON has it; null for nothing",
        "logs": "the lines of console.log, the first 200 and at most 64 KB",
    }
    effect = "none"
    only_constant: ClassVar[dict[str, str]] = {"code": "give the data as `inputs`: in the code it would become code"}
    errors: ClassVar[dict[str, str]] = {
        "bad_input": "an input does not fit; the message names it",
        "script_error": "the code is no JavaScript, or threw; the message has the line",
        "script_timeout": "it ran longer than 1.5 s",
        "script_memory": "it needs more than 64 MB",
        "script_output": "its value has more than 1 MB as JSON, or cannot be read as JSON",
        "script_crashed": "the process that ran it ended; the message says how",
        "script_unavailable": "scripts cannot be run here",
    }
    example = """
- id: total
  use: script.js
  with:
    inputs: {prices: "{{ trigger.row.prices }}"}
    code: |
      const sum = inputs.prices.reduce((sum, price) => sum + price, 0);
      console.log(`${inputs.prices.length} prices`);
      return {sum, mean: sum / inputs.prices.length};
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs; whether the code is JavaScript is known when it runs."""
        inputs = checked(ScriptJsInputs, rendered)

        async def perform(run: Run) -> Outputs:
            roots = run.scope.roots
            script = Script(
                code=inputs.code,
                inputs=inputs.inputs,
                context={"trigger": roots["trigger"], "steps": roots["stepsById"]},
                seed=sha256(run.key.encode()).digest(),
                now_ms=int(run.now.timestamp() * 1000),
            )
            try:
                result = await run.ports.scripts.run(run.job.app, script)
            except ScriptFailed as failed:
                raise StepError(failed.type, failed.message, outputs={"logs": list(failed.logs)}) from None
            return {"success": True, "value": result.value, "logs": list(result.logs)}

        return perform


class ScriptExpressionInputs(Inputs):
    """`value` is any value; a template that is one expression keeps its type."""

    value: object


class ScriptExpression(PureStep):
    """Gives a value a name: later steps read it from this step's output."""

    use = "script.expression"
    inputs = ScriptExpressionInputs
    outputs: ClassVar[dict[str, str]] = {"value": "the value"}
    effect = "none"
    example = """
- id: hours
  use: script.expression
  with: {value: "{{ trigger.row.dep_delay / 60 }}"}
"""

    def bind(self, rendered: Outputs) -> Compute:
        """Takes any value."""
        value = checked(ScriptExpressionInputs, rendered).value

        def compute(run: Run) -> Outputs:
            return {"success": True, "value": value}

        return compute
