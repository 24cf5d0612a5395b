"""`/api/v1/apps/{app}/tables`: the definitions of an app's tables."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from headrace.contracts.automation import DocumentError
from headrace.contracts.tables import Table, parse_table
from headrace.defining import NotSaved, define, undefine
from headrace.engine.rows import RowRefused
from headrace.storage import SavedTable
from services.gateway import bodies
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.paths import changed, checked_name, revision_meant, revision_tag
from services.gateway.problems import FieldError, Problem, bad_request, not_found

_OF_THE_PATH = ("app", "name")


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/tables", tags=["tables"])
    tables = context.storage.tables
    viewer, editor = requires(context.keys, "viewer"), requires(context.keys, "editor")

    async def list_tables(app: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """All tables of the app that are defined, by name."""
        found = await tables.all(checked_name("app", app))
        return answer({"tables": [_document(each) for each in found]})

    async def show(app: str, table: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """One table. The ETag is its revision."""
        found = await tables.get(_id(app, table))
        if found is None:
            raise not_found(f"app {app} has no table {table} that is defined")
        return _answer(found, HTTPStatus.OK)

    async def save(request: Request, app: str, table: str, caller: Annotated[Caller, Depends(editor)]) -> Response:
        """Defines a table, over the definition of the revision in `If-Match`, or only if there is none
        (`If-None-Match: *`). From then on rows that do not fit are refused, whoever writes them. Rows that are there
        stay: `misfits` names some that do not fit. The same definition again changes nothing."""
        meant, parsed = revision_meant(request), _parsed(_id(app, table), bodies.read_json(await request.body()))
        try:
            done = await define(context.storage, parsed, caller.by, meant)
        except NotSaved as error:
            raise changed(str(error)) from None
        except RowRefused as error:
            raise bad_request("bad_name", str(error), FieldError("path.app", str(error))) from None
        is_new = done.changed and done.saved.revision == 1
        return _answer(done.saved, HTTPStatus.CREATED if is_new else HTTPStatus.OK, {"misfits": [*done.misfits]})

    async def remove(request: Request, app: str, table: str, caller: Annotated[Caller, Depends(editor)]) -> Response:
        """Takes a definition away. The rows stay, and any row is taken from then on."""
        id, meant = _id(app, table), revision_meant(request)
        if await tables.get(id) is None:
            raise not_found(f"app {app} has no table {table} that is defined")
        try:
            await undefine(context.storage, id, caller.by, meant)
        except NotSaved as error:
            raise changed(str(error)) from None
        return Response(status_code=HTTPStatus.NO_CONTENT)

    routes.add_api_route("", list_tables, methods=["GET"])
    routes.add_api_route("/{table}", show, methods=["GET"])
    routes.add_api_route("/{table}", save, methods=["PUT"], openapi_extra=_OPENAPI)
    routes.add_api_route("/{table}", remove, methods=["DELETE"], status_code=HTTPStatus.NO_CONTENT)
    return routes


def _id(app: str, table: str) -> str:
    return f"{checked_name('app', app)}/{checked_name('table', table)}"


def _parsed(id: str, body: object) -> Table:
    if not isinstance(body, dict):
        raise bad_request("bad_shape", "expected an object with `columns`", FieldError("body", "expected an object"))
    app, _, name = id.partition("/")
    given: dict[str, Any] = body
    own = {"app": app, "name": name}
    wrong = [FieldError(part, "differs from the path") for part in own if given.get(part, own[part]) != own[part]]
    if wrong:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_table", "app and name are those of the path", errors=wrong)
    try:
        return parse_table({**given, **own})
    except DocumentError as error:
        errors = [FieldError(each.path or "(whole)", each.message) for each in error.mistakes]
        told = "; ".join(map(str, error.mistakes[:5]))
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_table", told, errors=errors) from None


def _document(saved: SavedTable) -> dict[str, object]:
    table = saved.table.model_dump(mode="json", exclude_defaults=True)
    return {**table, "revision": saved.revision, "by": saved.by, "saved_at": saved.saved_at}


def _answer(saved: SavedTable, status: HTTPStatus, more: dict[str, object] | None = None) -> Response:
    return answer({**_document(saved), **(more or {})}, status, {"ETag": revision_tag(saved.revision)})


_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            bodies.JSON: {
                "schema": {
                    "type": "object",
                    "required": ["columns"],
                    "properties": {
                        "columns": {"type": "object"},
                        "open": {"type": "boolean"},
                        "description": {"type": "string"},
                    },
                },
                "example": {"columns": {"subject": {"type": "text", "required": True}, "hours": "number"}},
            }
        },
    },
    "responses": {"201": {"description": "It is new.", "content": {bodies.JSON: {"schema": {"type": "object"}}}}},
}
