"""What a row may hold, and what names one."""

from collections.abc import Mapping
from typing import Annotated, cast

import orjson
from pydantic import StringConstraints

from headrace.contracts import limits
from headrace.contracts.validation import Said
from headrace.engine.errors import StepError
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.steps.inputs import ShortText

_INT64 = 1 << 63

RowId = Annotated[
    ShortText,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]*$"),
    Said("expected a row's id: 1 to 256 characters, none of them control characters"),
]
"""A row's id: it becomes part of a record key and of an index."""


def check_row(row: Mapping[str, object]) -> None:
    """Refuses what MongoDB would refuse, before anything is sent; raises StepError `bad_input` with the path."""
    for column in row:
        if not column or column.startswith(("$", "_")):
            raise _bad_row(column, "names of columns are not empty and begin with neither `_` nor `$`")
    _check_value(row, "row", 0)
    try:
        size = len(orjson.dumps(row))
    except orjson.JSONEncodeError as error:
        raise StepError("bad_input", f"inputs: row: {_reason(error)}") from None
    if size > limits.EVENT_BODY:
        raise StepError("bad_input", f"inputs: row: it has {size} bytes as JSON; {limits.EVENT_BODY} are accepted")


def _check_value(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise StepError("bad_input", f"inputs: {path[:100]}…: nested deeper than {MAX_DEPTH}")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise StepError("bad_input", f"inputs: {path}: the number does not fit into 64 bits")
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[object, object], value).items():
            if not isinstance(name, str) or "\0" in name:
                raise StepError("bad_input", f"inputs: {path}: a name in it is no text, or holds a NUL character")
            _check_value(item, f"{path}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast(list[object], value)):
            _check_value(item, f"{path}.{number}", depth + 1)


def _bad_row(column: str, why: str) -> StepError:
    return StepError("bad_input", f"inputs: row.{column[:64]}: {why}")


def _reason(error: orjson.JSONEncodeError) -> str:
    """orjson's text names the type or the encoding at fault, never a value."""
    return f"it holds a value that is no JSON ({error})"
