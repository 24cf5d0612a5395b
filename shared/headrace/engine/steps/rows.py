"""Steps that change one row of the app's tables, with the run's journal: once."""

from collections.abc import Callable
from typing import ClassVar

from headrace.contracts.jobs import derived_uuid
from headrace.engine.errors import StepError
from headrace.engine.publications import chain_of
from headrace.engine.rows import (
    Author,
    NewRow,
    OutcomeT,
    RowConflict,
    RowCreated,
    RowDelete,
    RowDeleted,
    RowEffect,
    RowMissing,
    RowRefused,
    RowUpdate,
    RowUpdated,
)
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform, checked
from headrace.engine.steps.inputs import JsonObject, TableName
from headrace.engine.steps.row_inputs import RowId, check_row

BAD_INPUT = "an input does not fit; the message names it"
_REFUSED = "the table can never hold the row as it would then be; the message says why"


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
    errors: ClassVar[dict[str, str]] = {
        "bad_input": BAD_INPUT,
        "row_exists": "the table has a row of this id, made by another step, run or writer",
        "row_refused": _REFUSED,
    }
    example = """
- id: note
  use: row.create
  with:
    table: notes
    row: {text: "Flight {{ trigger.row.flight }} is late", minutes: "{{ trigger.row.dep_delay }}"}
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and what a row can hold."""
        inputs = checked(RowCreateInputs, rendered)
        check_row(inputs.row)

        async def perform(run: Run) -> Outputs:
            row_id = inputs.id or derived_uuid(run.key)

            def outputs(done: RowCreated) -> Outputs:
                return {"success": True, "id": row_id, "row": dict(done.row), "created": done.created}

            new = NewRow(run.job.app, inputs.table, row_id, inputs.row, run.key, _author(run))
            return await _changed(run, new, outputs)

        return perform


class RowUpdateInputs(Inputs):
    """`table`, the row's `id`, and `row`: the columns to change. `null` clears a column; those not named stay."""

    table: TableName
    id: RowId
    row: JsonObject


class RowUpdateStep(AwaitingStep):
    """Changes columns of one row."""

    use = "row.update"
    inputs = RowUpdateInputs
    outputs: ClassVar[dict[str, str]] = {"id": "the row's id", "row": "the whole row as it stands after the update"}
    effect = "once"
    errors: ClassVar[dict[str, str]] = {
        "bad_input": BAD_INPUT,
        "row_not_found": "the table has no row of this id; row.create makes one",
        "row_refused": _REFUSED,
    }
    example = """
- id: close
  use: row.update
  with:
    table: notes
    id: "{{ trigger.row.note }}"
    row: {state: closed, assignee: null}
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and what a row can hold."""
        inputs = checked(RowUpdateInputs, rendered)
        check_row(inputs.row)

        def outputs(done: RowUpdated) -> Outputs:
            return {"success": True, "id": inputs.id, "row": dict(done.row)}

        async def perform(run: Run) -> Outputs:
            update = RowUpdate(run.job.app, inputs.table, inputs.id, inputs.row, _author(run))
            return await _changed(run, update, outputs)

        return perform


class RowDeleteInputs(Inputs):
    """`table` and the row's `id`."""

    table: TableName
    id: RowId


class RowDeleteStep(AwaitingStep):
    """Deletes one row; that there is none is no error."""

    use = "row.delete"
    inputs = RowDeleteInputs
    outputs: ClassVar[dict[str, str]] = {"id": "the row's id", "deleted": "false if there was no such row"}
    effect = "once"
    errors: ClassVar[dict[str, str]] = {"bad_input": BAD_INPUT, "row_refused": _REFUSED}
    example = """
- id: forget
  use: row.delete
  with: {table: notes, id: "{{ trigger.row.note }}"}
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs."""
        inputs = checked(RowDeleteInputs, rendered)

        def outputs(done: RowDeleted) -> Outputs:
            return {"success": True, "id": inputs.id, "deleted": done.deleted}

        async def perform(run: Run) -> Outputs:
            return await _changed(run, RowDelete(run.job.app, inputs.table, inputs.id, _author(run)), outputs)

        return perform


def _author(run: Run) -> Author:
    return Author(run.job.run_id, chain_of(run.job), run.job.replay)


async def _changed(run: Run, effect: RowEffect[OutcomeT], outputs: Callable[[OutcomeT], Outputs]) -> Outputs:
    try:
        return await run.change_row(effect, outputs)
    except RowConflict:
        raise StepError("row_exists", "the table has a row of this id already, made by someone else") from None
    except RowMissing:
        raise StepError("row_not_found", "the table has no row of this id; `row.create` makes one") from None
    except RowRefused as error:
        raise StepError("row_refused", str(error)) from None
