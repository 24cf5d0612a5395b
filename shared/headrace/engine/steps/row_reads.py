"""Steps that read rows of the app's tables; what they read goes into the journal with the run's next entry."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from headrace.engine.errors import StepError
from headrace.engine.rows import QueryRefused, RowQuery, SortBy
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform, checked
from headrace.engine.steps.inputs import JsonObject, TableName, Text
from headrace.engine.steps.row_inputs import RowId
from headrace.engine.steps.rows import BAD_INPUT
from headrace.language import LanguageError, check_column, coerce, parse_row_filter

MOST_ROWS = 1_000
"""On a page: what a run keeps in memory and in its journal."""

MOST_SORTS = 8
"""Columns to sort by; each one lengthens the cursor."""


class RowGetInputs(Inputs):
    """`table` and the row's `id`."""

    table: TableName
    id: RowId


class RowGet(AwaitingStep):
    """Reads one row by its id."""

    use = "row.get"
    inputs = RowGetInputs
    outputs: ClassVar[dict[str, str]] = {"row": "the row, null if there is none", "found": "whether there is one"}
    effect = "none"
    errors: ClassVar[dict[str, str]] = {"bad_input": BAD_INPUT}
    example = """
- id: note
  use: row.get
  with: {table: notes, id: "{{ trigger.row.note }}"}
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs."""
        inputs = checked(RowGetInputs, rendered)

        async def perform(run: Run) -> Outputs:
            row = await run.ports.rows.get(run.job.app, inputs.table, inputs.id)
            return {"success": True, "row": None if row is None else dict(row), "found": row is not None}

        return perform


class Sort(Inputs):
    """A column to sort by; `desc: true` for the greatest first."""

    column: str
    desc: Annotated[bool, BeforeValidator(coerce.to_bool)] = False


class RowQueryInputs(Inputs):
    """`table`; `filter`, whose fields are columns; `sort` by columns; `limit` rows at most; the `cursor` of a page.

    Without `sort` rows come by their ids. Values of different types sort as nothing, numbers, text, objects, arrays,
    booleans, times.
    """

    table: TableName
    filter: JsonObject | None = None
    sort: Annotated[tuple[Sort, ...], Field(max_length=MOST_SORTS)] = ()
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS), BeforeValidator(coerce.to_number)] = 100
    cursor: Text | None = None


class RowQueryStep(AwaitingStep):
    """Reads a page of rows: those that a filter holds of, in a stated order.

    A page that had to look at very many rows has fewer than `limit`, or none, and a cursor that goes on from there:
    only `cursor` being null says that there are no more. Rows that are inserted meanwhile move none to another page.
    """

    use = "row.query"
    inputs = RowQueryInputs
    outputs: ClassVar[dict[str, str]] = {
        "rows": "the rows",
        "count": "how many they are",
        "cursor": "input `cursor` of the next page; null if there are no more rows",
    }
    effect = "none"
    errors: ClassVar[dict[str, str]] = {
        "bad_input": BAD_INPUT,
        "bad_cursor": "the cursor is not one that the same query gave (table, filter and sort)",
        "bad_query": "the values it sorts by are too large to go on from",
        "query_timeout": "MongoDB took too long; a narrower filter or no sort takes less",
    }
    example = """
- id: late
  use: row.query
  with:
    table: notes
    filter: {all: [{field: minutes, op: gt, value: 60}, {field: state, op: ne, value: closed}]}
    sort: [{column: minutes, desc: true}]
    limit: 20
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and the filter."""
        inputs = checked(RowQueryInputs, rendered)
        asked = query_of("", inputs)

        async def perform(run: Run) -> Outputs:
            try:
                page = await run.ports.rows.query(replace(asked, app=run.job.app))
            except QueryRefused as refused:
                raise StepError(refused.type, refused.message) from None
            rows = [dict(row) for row in page.rows]
            return {"success": True, "rows": rows, "count": len(rows), "cursor": page.cursor}

        return perform


def query_of(app: str, inputs: RowQueryInputs) -> RowQuery:
    """The query that `inputs` ask for; raises StepError `bad_input`."""
    try:
        for number, sort in enumerate(inputs.sort):
            check_column(sort.column, f"sort.{number}.column")
        filter = None if inputs.filter is None else parse_row_filter(inputs.filter, "filter")
    except LanguageError as error:
        raise StepError("bad_input", f"inputs: {error}") from None
    if len({sort.column for sort in inputs.sort}) < len(inputs.sort):
        raise StepError("bad_input", "inputs: sort: a column is named twice")
    sorts = tuple([SortBy(sort.column, sort.desc) for sort in inputs.sort])
    return RowQuery(app, inputs.table, filter, sorts, inputs.limit, inputs.cursor or None)
