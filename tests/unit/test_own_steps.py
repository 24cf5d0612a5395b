"""`@step`: an async function as a step, and what cannot be one."""

from typing import Any

import pytest
from pydantic import BaseModel, Field
from test_engine import execute

from headrace.engine.steps import OURS
from headrace.steps import StepContext, StepError, step

pytestmark = pytest.mark.unit


class In(BaseModel):
    n: int


class Out(BaseModel):
    twice: int = Field(description="n, doubled")


@step("acme.double", effect="none", errors={"odd": "n is odd"})
async def double(inputs: In, context: StepContext) -> Out:
    if inputs.n % 2:
        raise StepError("odd", f"run {context.run_id}: {inputs.n} is odd")
    return Out(twice=2 * inputs.n)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.uses.STEPS", {**OURS, "acme.double": double})


async def test_a_function_is_a_step_with_its_models_as_inputs_and_outputs() -> None:
    use = {"id": "d", "use": "acme.double", "with": {"n": "{{ trigger.n }}"}}
    outcome = await execute([use, {"id": "out", "collect": "{{ steps.d.twice }}"}], {"n": 4})
    assert outcome.record.get("collected") == 8
    assert (double.outputs, sorted(double.errors)) == ({"twice": "n, doubled"}, ["bad_input", "odd"])


@pytest.mark.parametrize(("n", "type"), [(3, "odd"), ("many", "bad_input")])
async def test_its_errors_and_unfit_inputs_are_the_steps(n: Any, type: str) -> None:
    outcome = await execute([{"id": "d", "use": "acme.double", "with": {"n": "{{ trigger.n }}"}}], {"n": n})
    assert (outcome.record["error"] or {}).get("type") == type


async def _no_model(inputs: dict[str, object], context: StepContext) -> Out:
    return Out(twice=0)


async def _no_answer(inputs: In, context: StepContext) -> None:
    return None


async def _no_context(inputs: In) -> Out:
    return Out(twice=0)


def _not_async(inputs: In, context: StepContext) -> Out:
    return Out(twice=0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_no_model, "first of two"),
        (_no_answer, "what it returns"),
        (_no_context, "first of two"),
        (_not_async, "not async"),
    ],
)
def test_a_function_that_cannot_be_a_step_is_refused_where_it_stands(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        step("acme.x", effect="none")(function)


@pytest.mark.parametrize(("use", "effect"), [("score", "none"), ("acme.x", "once")])
def test_a_name_without_a_package_and_a_promise_nobody_can_keep_are_refused(use: str, effect: Any) -> None:
    with pytest.raises(TypeError):
        step(use, effect=effect)
