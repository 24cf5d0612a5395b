"""What an operator configures for an app to reach others: where they are and how we sign in. Steps name a connection
and never see its credentials."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

from headrace.contracts.automation import Duration
from headrace.contracts.validation import Said
from headrace.engine.web.urls import read_url

MAX_SECRET = 64 << 10
"""Bytes of a secret's file: a private key takes a few thousand; what is larger is the wrong file."""


def _secret(value: object, info: ValidationInfo) -> object:
    """Text, `{file: path}` or `{env: VARIABLE}`; a file's path is relative to the context's `directory`."""
    if isinstance(value, SecretStr | str):
        return value
    if isinstance(value, Mapping) and len(cast(Mapping[object, object], value)) == 1:
        ((kind, where),) = cast(Mapping[object, object], value).items()
        if kind == "file" and isinstance(where, str):
            context = cast(Mapping[str, Path], info.context or {})
            return _of_file(context.get("directory", Path()) / where)
        if kind == "env" and isinstance(where, str):
            if where not in os.environ:
                raise ValueError(f"the environment variable {where} is not set")
            return os.environ[where]
    raise ValueError("expected text, {file: path} or {env: VARIABLE}")


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read ({error.strerror})") from None
    if len(content) > MAX_SECRET:
        raise ValueError(f"the file {path} has more than {MAX_SECRET} bytes")
    try:
        # Editors and `echo` end a file with a line break that is no part of the secret.
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is no text in UTF-8") from None


Secret = Annotated[SecretStr, BeforeValidator(_secret)]
"""A value that no log, error or repr shows."""


class _Connection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    def hidden(self) -> Iterable[str]:
        """The credentials in it, in clear, so that they can be masked where the other side quotes them."""
        return ()


def _sql_url(url: SecretStr) -> SecretStr:
    if not re.match(r"(postgresql|mysql|sqlite)://", url.get_secret_value()):
        raise ValueError("expected a URL that begins with postgresql://, mysql:// or sqlite:///")
    return url


def _mongodb_uri(uri: SecretStr) -> SecretStr:
    if not re.match(r"mongodb(\+srv)?://", uri.get_secret_value()):
        raise ValueError("expected a URI that begins with mongodb:// or mongodb+srv://")
    return uri


def _base_url(text: str) -> str:
    url = read_url(text)
    if url.raw_user is not None or url.raw_password is not None or url.raw_query_string or url.raw_fragment:
        raise ValueError("expected a URL without user, query and fragment; the key is `api_key`")
    return text.rstrip("/")


_LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]"
_DOMAIN = r"@[A-Za-z0-9.-]+"


def _one_sender(text: str) -> str:
    if not re.fullmatch(f"{_LOCAL}+{_DOMAIN}", text):
        raise ValueError("expected an address such as desk@example.org")
    return text.lower()


def _senders(text: str) -> str:
    if not re.fullmatch(f"{_LOCAL}*{_DOMAIN}", text):
        raise ValueError("expected an address such as desk@example.org, or @example.org for all of a domain")
    return text.lower()


class SmtpConnection(_Connection):
    """A mail server. Mail is from `from` unless a step names another of `allowed_senders` (`@domain`: all of it)."""

    type: Literal["smtp"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Without it that of the mode: 587, 465 or 25."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    """Certificates that are trusted instead of the system's: a PEM file."""
    username: str | None = None
    password: Secret | None = None
    from_: Annotated[str, AfterValidator(_one_sender)] = Field(alias="from")
    allowed_senders: tuple[Annotated[str, AfterValidator(_senders)], ...] = ()
    timeout: Duration = 20.0
    """Seconds for each command."""

    def hidden(self) -> Iterable[str]:
        """The password."""
        return _revealed(self.password)


class SqlConnection(_Connection):
    """A database: `postgresql://`, `mysql://` (MariaDB as well) or `sqlite:///`. With `read_only` every statement runs
    in a read-only transaction; that is no substitute for an account that may only read."""

    type: Literal["sql"]
    url: Annotated[Secret, AfterValidator(_sql_url)]
    read_only: bool = False
    pool: Annotated[int, Field(ge=1, le=50)] = 5
    """Connections that one process opens at most."""
    timeout: Duration = 20.0
    """Seconds for a statement, before the step's own timeout."""

    def hidden(self) -> Iterable[str]:
        """The URL and the password in it."""
        return _url_secrets(self.url)


class MongoConnection(_Connection):
    """A database of a MongoDB."""

    type: Literal["mongodb"]
    uri: Annotated[Secret, AfterValidator(_mongodb_uri)]
    database: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$"), Said("expected text: 1 to 63 letters, digits, _ and -")
    ]
    pool: Annotated[int, Field(ge=1, le=50)] = 5
    timeout: Duration = 20.0
    """Seconds for an operation, before the step's own timeout."""

    def hidden(self) -> Iterable[str]:
        """The URI and the password in it."""
        return _url_secrets(self.uri)


class LlmConnection(_Connection):
    """An OpenAI-compatible endpoint; `base_url` ends before `/chat/completions`. `model` is used where a step names
    none."""

    type: Literal["llm"]
    base_url: Annotated[str, AfterValidator(_base_url)]
    api_key: Secret | None = None
    model: str | None = None

    def hidden(self) -> Iterable[str]:
        """The key."""
        return _revealed(self.api_key)


Connection = Annotated[
    SmtpConnection | SqlConnection | MongoConnection | LlmConnection,
    Field(discriminator="type"),
]


def _revealed(secret: SecretStr | None) -> Iterable[str]:
    return () if secret is None else (secret.get_secret_value(),)


def _url_secrets(url: SecretStr) -> Iterable[str]:
    text = url.get_secret_value()
    found = re.match(r"[^:]+://[^/?#]*?:([^/?#]*)@", text)
    return (text,) if found is None else (text, found[1], unquote(found[1]))
