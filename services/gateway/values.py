"""`/api/v1/apps/{app}/secrets` and `…/environment`: what an app's templates see under these names."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from headrace.app_values import WrongValue, delete_value, place_of, set_value
from headrace.contracts.automation.values import VariableName
from headrace.engine.connections import MAX_SECRET
from headrace.keyring import NoKeys, Place, Unreadable
from headrace.storage import AppValue, Kind
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.paths import checked_name
from services.gateway.problems import FieldError, Problem, not_found


class SecretText(BaseModel):
    """A secret, on its way in; no answer has it."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": [{"value": "whsec_C2FVsBQIhrscChlQ"}]}
    )

    value: Annotated[SecretStr, Field(min_length=1, max_length=MAX_SECRET)]


class VariableText(BaseModel):
    """A variable's value."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"value": "eu-west"}]})

    value: Annotated[str, Field(max_length=MAX_SECRET)]


def router(context: Context) -> APIRouter:
    """The routes. Who may write automations may have them send a secret anywhere: editors set, and never read."""
    routes = APIRouter(prefix="/api/v1/apps/{app}", tags=["secrets and environment"])
    values = _Values(context)
    editor = Depends(requires(context.keys, "editor"))

    @routes.get("/secrets")
    async def list_secrets(app: str, _: Annotated[Caller, editor]) -> Response:
        """The names of all secrets, and who set them when; `source` is `file` for those of the operator's file."""
        return answer({"secrets": await values.listed(app, "secret")})

    @routes.put("/secrets/{name}", status_code=HTTPStatus.NO_CONTENT)
    async def set_secret(
        app: str, name: VariableName, given: SecretText, caller: Annotated[Caller, editor]
    ) -> Response:
        """Sets a secret. Every orchestrator and gateway has it within 5 s."""
        return await values.put(app, "secret", name, given.value.get_secret_value(), caller)

    @routes.delete("/secrets/{name}", status_code=HTTPStatus.NO_CONTENT)
    async def delete_secret(app: str, name: VariableName, caller: Annotated[Caller, editor]) -> Response:
        """Takes a secret away."""
        return await values.remove(app, "secret", name, caller)

    @routes.get("/environment")
    async def list_variables(app: str, _: Annotated[Caller, editor]) -> Response:
        """All variables with their values."""
        return answer({"environment": await values.listed(app, "environment")})

    @routes.put("/environment/{name}", status_code=HTTPStatus.NO_CONTENT)
    async def set_variable(
        app: str, name: VariableName, given: VariableText, caller: Annotated[Caller, editor]
    ) -> Response:
        """Sets a variable. Every orchestrator has it within 5 s."""
        return await values.put(app, "environment", name, given.value, caller)

    @routes.delete("/environment/{name}", status_code=HTTPStatus.NO_CONTENT)
    async def delete_variable(app: str, name: VariableName, caller: Annotated[Caller, editor]) -> Response:
        """Takes a variable away."""
        return await values.remove(app, "environment", name, caller)

    return routes


class _Values:
    """What the routes of both kinds do."""

    def __init__(self, context: Context) -> None:
        self._storage = context.storage
        self._apps = context.apps

    async def listed(self, app: str, kind: Kind) -> list[dict[str, object]]:
        """Those of the file, and those that are stored and not hidden by it, by name."""
        of_file = self._of_file(checked_name("app", app), kind)
        stored = {each.place.name: each for each in await self._storage.app_values.of_app(app, kind)}
        found = [self._of_store(each, kind) for name, each in stored.items() if name not in of_file]
        for name, value in of_file.items():
            found.append({"name": name, "source": "file", **({"value": value} if kind == "environment" else {})})
        return sorted(found, key=lambda each: str(each["name"]))

    async def put(self, app: str, kind: Kind, name: str, text: str, caller: Caller) -> Response:
        """204; raises Problem 409 for a name of the file, 422, 503."""
        place = self._place(app, kind, name)
        if name in self._of_file(app, kind):
            told = f"{kind} {name} is set in the operator's file (HEADRACE_APPS_FILE), which goes before what is stored"
            raise Problem(HTTPStatus.CONFLICT, "set_by_file", told)
        try:
            await set_value(self._storage, self._apps.keyring, place, text, caller.by)
        except WrongValue as error:
            told = FieldError("body.value", str(error))
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_value", str(error), errors=[told]) from None
        except (NoKeys, Unreadable) as error:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no_secrets_key", str(error)) from None
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def remove(self, app: str, kind: Kind, name: str, caller: Caller) -> Response:
        """204; raises Problem 404."""
        try:
            await delete_value(self._storage, self._place(app, kind, name), caller.by)
        except WrongValue as error:
            raise not_found(str(error)) from None
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _place(self, app: str, kind: Kind, name: str) -> Place:
        return place_of(checked_name("app", app), kind, name)

    def _of_file(self, app: str, kind: Kind) -> dict[str, str]:
        config = self._apps.of_file(app)
        return dict(config.secrets if kind == "secret" else config.env)

    def _of_store(self, value: AppValue, kind: Kind) -> dict[str, object]:
        facts: dict[str, object] = {"name": value.place.name, "source": "stored", "by": value.by, "at": value.at}
        if kind == "environment" and value.sealed is not None:
            try:
                facts["value"] = self._apps.keyring.open(value.place, value.sealed)
            except Unreadable as error:
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no_secrets_key", str(error)) from None
        return facts
