"""`/api/v1/apps/{app}/tables/{table}/rows`: rows one by one, and those that a filter holds of.

A row is written to MongoDB and nowhere else: change capture makes its event.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from headrace.contracts.jobs import derived_uuid
from headrace.contracts.tables import Table
from headrace.contracts.validation import dotted, said, written
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.rows import (
    NewRow,
    QueryRefused,
    RowConflict,
    RowDelete,
    RowMissing,
    RowRefused,
    RowUpdate,
)
from headrace.engine.steps.row_inputs import RowId, check_row
from headrace.engine.steps.row_reads import MOST_ROWS, RowQueryInputs, query_of
from headrace.language import TemplateError
from headrace.storage import RowNotMeant
from headrace.typed_rows import from_json
from services.gateway import bodies
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.idempotency import origin_of
from services.gateway.identity import requires
from services.gateway.paths import ANY, changed, checked_name, etag_of, wanted
from services.gateway.problems import FieldError, Problem, not_found

_ID: TypeAdapter[str] = TypeAdapter(RowId)


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/tables/{table}/rows", tags=["rows"])
    store = context.storage.rows
    viewer, operator = requires(context.keys, "viewer"), requires(context.keys, "operator")

    async def create(request: Request, app: str, table: str, caller: Annotated[Caller, Depends(operator)]) -> Response:
        """Creates a row; `_id` in it is its id, else it gets one. With an `Idempotency-Key` the same request again
        creates no second one, and is answered with the first, 200."""
        definition = await definition_of(context, app, table)
        row = read_row(bodies.read_json(await request.body()), definition)
        origin = origin_of(request, caller, f"{app}/{table}")
        new = NewRow(app, table, row_id_of(row.pop("_id", None) or derived_uuid(origin)), row, origin)
        try:
            done = await store.apply(new)
        except RowConflict as error:
            raise Problem(HTTPStatus.CONFLICT, "row_exists", str(error)) from None
        except RowRefused as error:
            raise refused(error) from None
        status = HTTPStatus.CREATED if done.created else HTTPStatus.OK
        location = {"Location": f"/api/v1/apps/{app}/tables/{table}/rows/{quote(new.row_id, safe='')}"}
        return _answer(done.row, status, location)

    async def show(request: Request, app: str, table: str, id: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """One row, with an ETag: `If-None-Match` answers 304 where it is still as it was."""
        found = await store.get(checked_name("app", app), checked_name("table", table), row_id_of(id))
        if found is None:
            raise _no_row(table)
        shown = _answer(found, HTTPStatus.OK)
        if shown.headers["etag"] in wanted(request, "if-none-match"):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": shown.headers["etag"]})
        return shown

    async def change(
        request: Request, app: str, table: str, id: str, _: Annotated[Caller, Depends(operator)]
    ) -> Response:
        """Changes the columns that are given; null clears one, those not named stay. With `If-Match` only if the row is
        still the one of that ETag."""
        definition = await definition_of(context, app, table)
        columns = read_row(bodies.read_json(await request.body()), definition)
        effect = RowUpdate(app, table, row_id_of(id), columns)
        try:
            done = await store.change(effect, _is_meant(request))
        except RowMissing:
            raise _no_row(table) from None
        except RowNotMeant:
            raise _changed() from None
        except RowRefused as error:
            raise refused(error) from None
        return _answer(done.row, HTTPStatus.OK)

    async def remove(
        request: Request, app: str, table: str, id: str, _: Annotated[Caller, Depends(operator)]
    ) -> Response:
        """Deletes a row; with `If-Match` only if it is still the one of that ETag."""
        effect = RowDelete(checked_name("app", app), checked_name("table", table), row_id_of(id))
        try:
            done = await store.change(effect, _is_meant(request))
        except RowNotMeant:
            raise _changed() from None
        except RowRefused as error:
            raise refused(error) from None
        if not done.deleted:
            raise _no_row(table)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def page(
        app: str,
        table: str,
        _: Annotated[Caller, Depends(viewer)],
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
        cursor: str | None = None,
    ) -> Response:
        """Rows by their ids, a page at a time. `cursor` of the answer is that of the next page, null after the last."""
        return await _page(context, app, table, {"limit": limit, "cursor": cursor})

    async def query(request: Request, app: str, table: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """Rows that a filter holds of, sorted. A page may have fewer than `limit`: only a null `cursor` is the end."""
        return await _page(context, app, table, bodies.read_json(await request.body()))

    routes.add_api_route("", create, methods=["POST"], status_code=HTTPStatus.CREATED, openapi_extra=_NEW_ROW)
    routes.add_api_route("", page, methods=["GET"])
    routes.add_api_route("/query", query, methods=["POST"], openapi_extra=_QUERY)
    routes.add_api_route("/{id:path}", show, methods=["GET"])
    routes.add_api_route("/{id:path}", change, methods=["PATCH"], openapi_extra=_ROW)
    routes.add_api_route("/{id:path}", remove, methods=["DELETE"], status_code=HTTPStatus.NO_CONTENT)
    return routes


async def definition_of(context: Context, app: str, table: str) -> Table | None:
    """The table's definition, if it has one; raises Problem 400 for names that are none."""
    saved = await context.storage.tables.get(f"{checked_name('app', app)}/{checked_name('table', table)}")
    return None if saved is None else saved.table


def row_id_of(value: object) -> str:
    """A row's id; raises Problem 422."""
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        told = said(error.errors(include_url=False)[0])
        raise _unfit("bad_row", FieldError("_id", told)) from None


def read_row(body: object, definition: Table | None) -> dict[str, object]:
    """A row in a request, with `_id` where it has one; raises Problem 422 for what no row may hold."""
    if not isinstance(body, dict):
        raise _unfit("bad_row", FieldError("(whole)", "expected a row: an object of columns with values"))
    row = from_json(definition, cast("dict[str, object]", body))
    check({name: value for name, value in row.items() if name != "_id"})
    return row


def check(row: dict[str, object]) -> None:
    """Raises Problem 422 for what no row may hold."""
    try:
        check_row(row)
    except StepError as error:
        where, _, told = error.message.removeprefix("inputs: row").removeprefix(".").partition(": ")
        raise _unfit("bad_row", FieldError(where or "(whole)", told)) from None


def refused(error: RowRefused) -> Problem:
    """422 for a row that its table, or MongoDB, does not take."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "row_refused", str(error))


async def _page(context: Context, app: str, table: str, asked: object) -> Response:
    where = {"table": checked_name("table", table)}
    if not isinstance(asked, dict):
        raise _unfit("bad_query", FieldError("(whole)", "expected an object with `filter`, `sort`, `limit`, `cursor`"))
    given = {**cast("dict[str, object]", asked), **where}
    try:
        query = query_of(checked_name("app", app), RowQueryInputs.model_validate(given))
        found = await context.storage.rows.query(query)
    except ValidationError as error:
        errors = [
            FieldError(dotted(written(each, each["loc"], given)), said(each))
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise _unfit("bad_query", *errors) from None
    except StepError as error:
        where_, _, told = error.message.removeprefix("inputs: ").partition(": ")
        raise _unfit("bad_query", FieldError(where_, told)) from None
    except QueryRefused as error:
        field = "cursor" if error.type == "bad_cursor" else "(whole)"
        raise _unfit(error.type, FieldError(field, error.message)) from None
    except TemplateError as error:
        raise _unfit("bad_query", FieldError("filter", error.message)) from None
    return answer({"rows": [*found.rows], "cursor": found.cursor})


def _is_meant(request: Request) -> Callable[[Mapping[str, object]], bool]:
    tags = wanted(request, "if-match")
    return lambda row: not tags or tags == [ANY] or etag_of(dumps(row)) in tags


def _answer(row: Mapping[str, object], status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    made = answer(row, status, headers)
    made.headers["ETag"] = etag_of(bytes(made.body))
    return made


def _no_row(table: str) -> Problem:
    return not_found(f"table {table} has no row of this id")


def _changed() -> Problem:
    return changed("the row is no longer the one of the ETag in If-Match: read it again")


def _unfit(type: str, *errors: FieldError) -> Problem:
    told = "; ".join(f"{each.field}: {each.message}" for each in errors[:5])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, type, told, errors=errors)


_ROW: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {bodies.JSON: {"schema": {"type": "object"}, "example": {"subject": "A late flight", "hours": 2}}},
    }
}
_NEW_ROW: dict[str, Any] = {
    **_ROW,
    "responses": {"200": {"description": "It was there.", "content": {bodies.JSON: {"schema": {"type": "object"}}}}},
}
_QUERY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            bodies.JSON: {
                "schema": {"type": "object"},
                "example": {
                    "filter": {"all": [{"field": "hours", "op": "gt", "value": 1}]},
                    "sort": [{"column": "hours", "desc": True}],
                    "limit": 20,
                },
            }
        },
    }
}
