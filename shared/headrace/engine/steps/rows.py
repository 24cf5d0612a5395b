"""Steps on rows of the app's tables."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, cast

import orjson
from pydantic import StringConstraints

from headrace.contracts import limits
from headrace.contracts.jobs import derived_uuid
from headrace.engine.errors import StepError
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.ports import RowConflict, RowRefused
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform, checked
from headrace.engine.steps.inputs import JsonObject, ShortText, TableName

_INT64 = 1 << 63

RowId = Annotated[ShortText, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]*$")]
"""A row's id: it becomes part of a record key and of an index."""


class RowCreateInputs(Inputs):
    """`table` and `row`; without `id` the row's id is derived from the step key, so a duplicate creates no second."""

    table: TableName
    row: JsonObject
    id: RowId | None = None


class RowCreate(AwaitingStep):
    """Creates one row."""

    use = "row.create"
    inputs = RowCreateInputs
    outputs: ClassVar[dict[str, str]] = {
        "id": "the row's id",
        "row": "the row as it stands",
        "created": "false if an earlier try made it",
    }
    effect = "once"

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and what a row can hold."""
        inputs = checked(RowCreateInputs, rendered)
        _check_row(inputs.row)

        async def perform(run: Run) -> Outputs:
            row_id = inputs.id or derived_uuid(run.key)
            try:
                done = await run.create_row(inputs.table, row_id, inputs.row)
            except RowConflict:
                raise StepError(
                    "row_exists", f"table {inputs.table} has a row of this id already, made by someone else"
                ) from None
            except RowRefused as error:
                raise StepError("row_refused", str(error)) from None
            return {"success": True, "id": row_id, "row": dict(done.row), "created": done.created}

        return perform


def _check_row(row: Mapping[str, object]) -> None:
    """Refuses what MongoDB would refuse, with the path, before anything is sent."""
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
