"""Inputs of `http.request`: hostile until shown otherwise."""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar, cast
from urllib.parse import urlencode

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from yarl import URL

from headrace.contracts.automation import Duration
from headrace.contracts.validation import Said
from headrace.engine.plain import dumps
from headrace.engine.steps.base import Inputs
from headrace.engine.steps.http_auth import ApiKeyAuth, Auth, Headers, Url
from headrace.engine.steps.inputs import ShortText, Text
from headrace.engine.web import jsonpaths, multipart

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _status(value: object) -> object:
    text = str(value).lower()
    if re.fullmatch(r"[1-5](xx|[0-9]{2})", text):
        return text
    raise ValueError("expected a status such as 200, or a class such as 2xx")


def _path(text: str) -> str:
    jsonpaths.parse(text)
    return text


def _only_path(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


def _as_list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else [value]


class JsonExpect(Inputs):
    """A path that leads somewhere in the answer's JSON: to `equals` where that is given, else to anything."""

    path: Annotated[ShortText, AfterValidator(_path)]
    equals: object = None


class Expect(Inputs):
    """What counts as success: statuses (`200`, `[200, 404]`) or classes of them (`2xx`, as where none are given), and
    what the answer's JSON holds (`data.ok`, or `{path: data.ok, equals: true}`)."""

    status: Annotated[tuple[Annotated[str, BeforeValidator(_status)], ...], BeforeValidator(_as_list)] = ()
    json_: Annotated[JsonExpect, BeforeValidator(_only_path)] | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.status and self.json_ is None:
            raise ValueError("expected `status`, `json` or both")
        return self


def _lists(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    found = cast(Mapping[object, object], value)
    return {name: _as_list(item) for name, item in found.items() if item is not None}


Parameters = Annotated[dict[str, list[ShortText]], BeforeValidator(_lists)]
"""Names and values of a query or form; an array repeats the name, null leaves it out."""


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected base64 text")
    try:
        return b64decode(value, validate=True)
    except ValueError:
        raise ValueError("this is no base64") from None


_MEDIA_TYPE = r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?charset=[A-Za-z0-9_-]+)?$"
"""It stands in a header of the part, which it must not be able to end."""


class File(Inputs):
    """A file of a multipart body; its content is `text` or `base64`."""

    filename: Annotated[ShortText, Field(min_length=1, max_length=255)]
    content_type: Annotated[
        ShortText, Field(max_length=255, pattern=_MEDIA_TYPE), Said("expected a media type such as text/csv")
    ] = "application/octet-stream"
    text: Text | None = None
    base64: Annotated[bytes, BeforeValidator(_decoded)] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.base64 is None):
            raise ValueError("a file has one content: `text` or `base64`")
        return self

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return self.base64 if self.base64 is not None else (self.text or "").encode(errors="replace")


def _kind_of_part(value: object) -> str:
    # Told apart here, so that a mistake in a file is not answered with what a text would have to look like.
    return "file" if isinstance(value, Mapping | File) else "field"


_Part = Annotated[Annotated[File, Tag("file")] | Annotated[ShortText, Tag("field")], Discriminator(_kind_of_part)]
Multipart = Annotated[dict[str, list[_Part]], BeforeValidator(_lists)]
"""Fields (text) and files of a multipart body; an array repeats the name, null leaves it out."""

_BODIES = ("json_", "form", "multipart", "text")


class HttpInputs(Inputs):
    """A request; at most one of `json`, `form`, `multipart` and `text` is its body.

    `timeout` is that of one attempt.
    """

    url: Url
    method: Annotated[Method, BeforeValidator(_upper)] = "GET"
    query: Parameters = Field(default_factory=dict)
    headers: Headers = Field(default_factory=dict)
    json_: object = Field(default=None, alias="json")
    form: Parameters | None = None
    multipart: Multipart | None = None
    text: Text | None = None
    auth: Auth | None = None
    timeout: Duration | None = None
    expect: Expect | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if sum(name in self.model_fields_set for name in _BODIES) > 1:
            raise ValueError("a request has one body: `json`, `form`, `multipart` or `text`")
        own = [name.lower() for name in self.headers]
        given = (URL(self.url).raw_user is not None) + own.count("authorization")
        if isinstance(self.auth, ApiKeyAuth):
            twice = given > 1 or (self.auth.in_ == "header" and self.auth.name.lower() in own)
        else:
            twice = given + (self.auth is not None) > 1
        if twice:
            raise ValueError("credentials are given twice: use one of `auth`, the URL, the header Authorization")
        return self

    @property
    def body(self) -> tuple[str, bytes | None]:
        """The content type and the bytes; None is no body."""
        if "json_" in self.model_fields_set:
            return "application/json", dumps(self.json_)
        if self.form is not None:
            return "application/x-www-form-urlencoded", urlencode(pairs(self.form), errors="replace").encode()
        if self.multipart is not None:
            return multipart.encode(_part(name, value) for name, value in pairs(self.multipart))
        if self.text is not None:
            return "text/plain; charset=utf-8", self.text.encode(errors="replace")
        return "", None


def _part(name: str, value: File | str) -> multipart.Part:
    if isinstance(value, File):
        return multipart.Part(name, value.content, value.filename, value.content_type)
    return multipart.Part(name, value.encode(errors="replace"))


ValueT = TypeVar("ValueT")


def pairs(parameters: Mapping[str, list[ValueT]]) -> list[tuple[str, ValueT]]:
    """Name and value, one by one."""
    return [(name, value) for name, values in parameters.items() for value in values]
