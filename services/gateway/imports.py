"""`…/rows/import`: many rows in one request, each taken or refused by itself."""

import asyncio
import csv
import io
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from headrace.contracts.jobs import derived_uuid
from headrace.contracts.tables import Table
from headrace.engine.rows import NewRow, RowCreated, RowRefused
from headrace.typed_rows import from_text
from services.gateway import bodies
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.idempotency import origin_of
from services.gateway.identity import requires
from services.gateway.problems import FieldError, Problem, bad_request
from services.gateway.rows import check, definition_of, read_row, row_id_of

CSV, NDJSON = "text/csv", "application/x-ndjson"

MOST_ROWS = 10_000
"""Of one import; a megabyte holds about as many."""

MOST_TOLD = 100
"""Refused rows that are told in words; the rest is counted."""


class Line(NamedTuple):
    """A row to be imported, or why it cannot be, and the number of its line."""

    number: int
    row: dict[str, object]
    why: str = ""


def router(context: Context) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/tables/{table}/rows", tags=["rows"])
    operator = requires(context.keys, "operator")

    async def import_rows(
        request: Request, app: str, table: str, caller: Annotated[Caller, Depends(operator)]
    ) -> Response:
        """Creates rows out of CSV (the first line names the columns, `_id` may be one) or of JSON, a row a line. Each
        is taken or refused by itself: the answer names the lines that were not taken. Texts of CSV become what their
        columns are where the table is defined. With an `Idempotency-Key` the same import again creates nothing twice.
        """
        definition = await definition_of(context, app, table)
        lines = read_lines(request.headers.get("content-type", ""), await request.body(), definition)
        origin = origin_of(request, caller, f"{app}/{table}")
        creating = (_create(context, app, table, each, f"{origin}/{each.number}") for each in lines)
        outcomes = await asyncio.gather(*creating)
        refused = [
            {"line": line.number, "message": outcome}
            for line, outcome in zip(lines, outcomes, strict=True)
            if isinstance(outcome, str)
        ]
        created = sum(isinstance(each, RowCreated) and each.created for each in outcomes)
        told = {
            "created": created,
            "known": len(lines) - created - len(refused),
            "refused": len(refused),
            "errors": refused[:MOST_TOLD],
        }
        return answer(told)

    routes.add_api_route("/import", import_rows, methods=["POST"], openapi_extra=_OPENAPI)
    return routes


def read_lines(content_type: str, body: bytes, definition: Table | None) -> list[Line]:
    """The rows in a request; raises Problem for what is neither CSV nor lines of JSON, or too much."""
    kind = bodies.media_type(content_type)
    if kind not in (CSV, NDJSON):
        raise bodies.unsupported(content_type, f"{CSV} and {NDJSON} are accepted")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_request("not_utf8", "the body is not UTF-8", FieldError("body", "expected UTF-8")) from None
    found = [*(_csv(text, definition) if kind == CSV else _ndjson(text, definition))]
    if len(found) > MOST_ROWS:
        told = f"it has {len(found)} rows; {MOST_ROWS} are accepted at a time"
        raise bad_request("over_limit", told, FieldError("body", told))
    return found


async def _create(context: Context, app: str, table: str, line: Line, origin: str) -> RowCreated | str:
    """What became of the row; a text says why there is none."""
    if line.why:
        return line.why
    row = dict(line.row)
    try:
        id = row_id_of(row.pop("_id", None) or derived_uuid(origin))
        return await context.storage.rows.apply(NewRow(app, table, id, row, origin))
    except RowRefused as error:
        return str(error)
    except Problem as error:
        return error.detail


def _ndjson(text: str, definition: Table | None) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield Line(number, read_row(bodies.read_json(line.encode()), definition))
        except Problem as error:
            yield Line(number, {}, error.detail)


def _csv(text: str, definition: Table | None) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names) or not names:
            told = "the first line names the columns, each once"
            raise bad_request("bad_csv", told, FieldError("body", told))
        for cells in reader:
            if cells:
                yield _row(reader.line_num, dict(zip(names, cells, strict=False)), len(cells) - len(names), definition)
    except csv.Error as error:
        told = f"line {reader.line_num} is no CSV ({error})"
        raise bad_request("bad_csv", told, FieldError("body", told)) from None


def _row(number: int, cells: Mapping[str, str], more: int, definition: Table | None) -> Line:
    if more:
        return Line(number, {}, f"it has {abs(more)} cells {'more' if more > 0 else 'fewer'} than the first line")
    row = from_text(definition, cells)
    try:
        check({name: value for name, value in row.items() if name != "_id"})
    except Problem as error:
        return Line(number, {}, error.detail)
    return Line(number, row)


_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            CSV: {"schema": {"type": "string"}, "example": "subject,hours\nA late flight,2\n"},
            NDJSON: {"schema": {"type": "string"}, "example": '{"subject": "A late flight", "hours": 2}\n'},
        },
    }
}
