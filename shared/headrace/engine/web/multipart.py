"""Bodies of `multipart/form-data` (RFC 7578), the same bytes for the same parts."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Part:
    """A field, or a file where it has a name. `content_type` is clean already; the names may hold anything."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


def encode(parts: Iterable[Part]) -> tuple[str, bytes]:
    """The content type, and the body. The boundary is a hash of the parts: no part can hold it on purpose."""
    pieces = [(_head(part), part.content) for part in parts]
    digest = sha256()
    for head, content in pieces:
        digest.update(b"%d,%d;%b%b" % (len(head), len(content), head, content))
    boundary = f"headrace-{digest.hexdigest()[:40]}"
    line = f"--{boundary}".encode()
    body = b"".join(b"%b\r\n%b\r\n\r\n%b\r\n" % (line, head, content) for head, content in pieces)
    return f"multipart/form-data; boundary={boundary}", body + line + b"--\r\n"


def _head(part: Part) -> bytes:
    head = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        head += f'; filename="{_quoted(part.filename)}"'
    if part.content_type is not None:
        head += f"\r\nContent-Type: {part.content_type}"
    return head.encode(errors="replace")


def _quoted(name: str) -> str:
    """As browsers write it (WHATWG HTML, multipart/form-data encoding): a name cannot end its header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
