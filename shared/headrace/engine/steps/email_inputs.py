"""Inputs of `email.send`: every text may be hostile, and none of it becomes a header or a recipient of its own."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import datetime
from email.headerregistry import Address
from typing import Annotated, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from headrace.engine.steps.base import Inputs
from headrace.engine.steps.connections import ConnectionRef
from headrace.engine.steps.inputs import ShortText, Text
from headrace.language import coerce

MAX_RECIPIENTS = 100
"""Of one mail: what common servers take at once. A newsletter is no automation's mail."""

MAX_ATTACHMENTS_BYTES = 10 << 20
"""Of all attachments together, decoded: common servers take 25 MB, and Base64 makes a third more of it."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=[^@]{1,253}$)[^\s@<>(),;:\\\"\[\]]+")
_QUOTED_OR_PLAIN = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
"""What stands between commas that are outside of quotes."""

_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it becomes a header and may hold no line break or other control character")
    # Python's email package decodes what looks like an encoded word, line breaks in it included, and writes them.
    return text.replace("=?", "= ?")


def _addresses(value: object) -> object:
    if value is None or value == "":
        return ()
    given = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    return [one for each in given for one in _split(each)]


def _split(text: object) -> list[str]:
    if not isinstance(text, str):
        raise ValueError("expected an address, or a list of addresses")
    return [str(address(each)) for each in _QUOTED_OR_PLAIN.findall(_line(text)) if each.strip()]


def address(text: str) -> Address:
    """The address in `Ann <ann@example.org>` or `ann@example.org`; raises ValueError.

    Read by us: Python's own reader before 3.12 takes `ann@example.org <x@example.com>` apart in a way of its own.
    """
    text = text.strip()
    if not text.endswith(">"):
        return _address("", text)
    name, _, found = text[:-1].rpartition("<")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return _address(name, found)


def _address(name: str, address: str) -> Address:
    if not _ADDRESS.fullmatch(address):
        raise ValueError("expected addresses such as ann@example.org or Ann <ann@example.org>")
    local, _, domain = address.rpartition("@")
    try:
        return Address(name, local, domain.encode("idna").decode())
    except (UnicodeError, ValueError, IndexError):
        raise ValueError("expected addresses such as ann@example.org or Ann <ann@example.org>") from None


def _media_type(text: str) -> str:
    if not _MEDIA.fullmatch(text) or text.lower().startswith(("multipart/", "message/")):
        raise ValueError("expected a media type such as application/pdf")
    return text


Line = Annotated[ShortText, AfterValidator(_line), StringConstraints(max_length=998)]
"""Text that becomes a header; RFC 5322 ends lines at 998 characters."""

Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
"""Addresses, in one text with commas or as a list."""

Time = Annotated[datetime, BeforeValidator(coerce.to_datetime)]


class Attachment(Inputs):
    """A file: `content` is Base64, `text` is text."""

    name: Annotated[Line, StringConstraints(min_length=1, max_length=255)]
    type: Annotated[ShortText, AfterValidator(_media_type)] = "application/octet-stream"
    content: str | None = None
    text: Text | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.content is None) == (self.text is None):
            raise ValueError("an attachment has either `content` (Base64) or `text`")
        if self.content is not None and len(self.content) <= 2 * MAX_ATTACHMENTS_BYTES:
            try:
                b64decode(self.content, validate=True)
            except (Base64Error, ValueError):
                raise ValueError("content: expected Base64") from None
        return self

    def bytes(self) -> bytes:
        """What is in the file."""
        if self.content is not None:
            return b64decode(self.content)
        return (self.text or "").encode(errors="replace")


class Invite(Inputs):
    """A calendar invitation, from the mail's sender to its recipients in `to`."""

    start: Time
    end: Time
    summary: Text
    location: Text = ""
    description: Text = ""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end < self.start:
            raise ValueError("the invitation ends before it starts")
        return self


class EmailSendInputs(Inputs):
    """A mail; it has `text`, `html` or both. `from` is the connection's where it is not given."""

    connection: ConnectionRef
    to: Addresses = ()
    cc: Addresses = ()
    bcc: Addresses = ()
    reply_to: Addresses = ()
    from_: Annotated[Addresses, Field(max_length=1)] = Field(default=(), alias="from")
    subject: Line = ""
    text: Text | None = None
    html: Text | None = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()
    invite: Invite | None = None

    @model_validator(mode="after")
    def _is_a_mail(self) -> Self:
        recipients = len(self.recipients())
        if not 1 <= recipients <= MAX_RECIPIENTS:
            raise ValueError(f"to, cc and bcc have {recipients} recipients; 1 to {MAX_RECIPIENTS} are accepted")
        if self.text is None and self.html is None:
            raise ValueError("a mail has `text`, `html` or both")
        size = sum(len(each.content or "") * 3 // 4 + len(each.text or "") for each in self.attachments)
        if size > MAX_ATTACHMENTS_BYTES:
            raise ValueError(f"attachments: {size} bytes together; {MAX_ATTACHMENTS_BYTES} are accepted")
        return self

    def recipients(self) -> list[str]:
        """All addresses that get it, each once."""
        return list(dict.fromkeys(address(each).addr_spec for each in (*self.to, *self.cc, *self.bcc)))
