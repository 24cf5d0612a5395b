"""A package with a step of its own, `acme.score`."""

from typing import Annotated

from pydantic import BaseModel, Field

from headrace.steps import StepContext, StepError, step


class ScoreInputs(BaseModel):
    """What is scored."""

    delay: Annotated[float, Field(ge=0)]
    passengers: Annotated[int, Field(ge=0)] = 0


class ScoreOutputs(BaseModel):
    """How bad it is."""

    score: float = Field(description="hours that are lost by all passengers together")
    level: str = Field(description="low, high or severe")


@step("acme.score", effect="none", errors={"unknown_aircraft": "no aircraft has so many seats"})
async def score(inputs: ScoreInputs, context: StepContext) -> ScoreOutputs:
    """Scores a delay by the hours that it costs."""
    if inputs.passengers > 853:
        raise StepError("unknown_aircraft", f"{inputs.passengers} passengers fit into no aircraft")
    lost = inputs.delay / 60 * inputs.passengers
    return ScoreOutputs(score=round(lost, 1), level="severe" if lost > 500 else "high" if lost > 100 else "low")
