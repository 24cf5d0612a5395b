"""The kinds of value that documents are made of."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from headrace.contracts.validation import Said

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$"),
    Said("expected text: 1 to 64 of a-z, 0-9, _ and -"),
]
StepId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"),
    Said("expected text: a letter or _, then at most 63 letters, digits, _ and -"),
]
VariableName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"),
    Said("expected a name: a letter or _, then at most 63 letters, digits and _"),
]
"""Of an app's variable or secret: a name that a template writes after a dot."""
ConditionSource = Annotated[
    str | StrictBool | dict[str, object],
    Said('expected a condition: text such as "{{ row.total > 5 }}", true, false, or a filter object'),
]
"""A template's text, or a filter object."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
DurationText = Annotated[str, StringConstraints(pattern=f"^{_DURATION.pattern}$")]
"""For editors: as an author writes it."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LONGEST_S = 30 * 86400.0
"""Of any duration: dead letters, and so whatever could still wait for something, are kept for 30 days."""


def seconds(text: object) -> object:
    """`"1.5s"`, `"10m"`, `"2d"` as seconds; numbers are seconds already. Raises ValueError for other text."""
    if not isinstance(text, str):
        return text
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("expected a duration such as 500ms, 30s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


def delay_seconds(value: object) -> float:
    """The seconds of a delay: a duration from nothing to 30 days. Raises ValueError for anything else."""
    found = seconds(value)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= LONGEST_S:
        raise ValueError("expected a duration of at most 30d, such as 10m")
    return float(found)


_Seconds = Annotated[float, Field(gt=0, le=LONGEST_S)]
Duration = Annotated[
    _Seconds,
    BeforeValidator(seconds, json_schema_input_type=_Seconds | DurationText),
    Said("expected a duration such as 500ms, 30s, 10m, 2h or 1d, of at most 30d"),
]


class Part(BaseModel):
    """A part of a document: an unknown name is a mistake, and nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
