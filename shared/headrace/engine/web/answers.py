"""What an answer says to a template: its body parsed by its content type, and how long it asks to be left alone."""

import codecs
import re
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

import orjson

from headrace.engine.web.messages import HttpAnswer

_CHARSETS = frozenset(
    (
        *("utf-8", "utf8", "utf-16", "us-ascii", "ascii"),
        *("iso-8859-1", "latin-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252"),
        *("shift_jis", "euc-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr", "koi8-r"),
    )
)
"""Text encodings that may be asked of Python: among all it knows, some (idna, punycode) take quadratic time."""

_KEPT_BACK = frozenset(("set-cookie", "set-cookie2"))
"""Header fields that no template or record sees: a session's credentials."""

_TRY_AGAIN = frozenset((408, 425, 429))
"""Statuses below 500 that speak of the moment, not of the request (RFC 9110, 8470, 6585)."""

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 10_000
"""Fields of a form that are parsed; more stay text."""

_TEXTUAL = re.compile(
    r"text/.*|.*[/+](json|xml|yaml)|application/(x-)?(ndjson|javascript|ecmascript|graphql|sql|toml|yaml|csv|pem-file|"
    r"www-form-urlencoded)"
)
"""Media types that are text, beside those that name a charset."""


def outputs(answer: HttpAnswer) -> dict[str, object]:
    """`status`, `headers` (names in lower case), `data`, and `truncated` where the body was cut."""
    found: dict[str, object] = {
        "status": answer.status,
        "headers": {name: value for name, value in answer.headers.items() if name not in _KEPT_BACK},
        "data": _data(answer),
    }
    if answer.truncated:
        found["truncated"] = True
    return found


def is_momentary(status: int) -> bool:
    """Whether the same request may be answered differently in a while."""
    return status >= 500 or status in _TRY_AGAIN


def is_refusal(answer: HttpAnswer) -> bool:
    """Whether the answer says that nothing was done and the request is to come again (RFC 6585 §4, RFC 9110 §15.6.4).

    A 503 without `Retry-After` does not: gateways answer so as well when they lost whom they had asked.
    """
    return answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers)


def retry_after(answer: HttpAnswer, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110 §10.2.3: a number or a date); None without or with a bad one."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def _data(answer: HttpAnswer) -> object:
    media, _, parameters = answer.headers.get("content-type", "").partition(";")
    media = media.strip().lower()
    if (media == "application/json" or media.endswith("+json")) and not answer.truncated:
        try:
            return orjson.loads(answer.body) if answer.body else None
        except orjson.JSONDecodeError:
            pass  # The sender mislabelled its answer; as text the author can see what it is.
    charset = re.search(r'charset="?([A-Za-z0-9_-]+)', parameters)
    if _is_binary(answer, media, charset is not None):
        encoded = b64encode(answer.body).decode()
        return {"_binary": True, "content_type": media, "bytes": len(answer.body), "base64": encoded}
    name = charset[1].lower() if charset else "utf-8"
    text = answer.body.decode(name if name in _CHARSETS else "utf-8", errors="replace")
    return text if media != _FORM or answer.truncated else _form(text)


def _is_binary(answer: HttpAnswer, media: str, has_charset: bool) -> bool:
    if has_charset or not answer.body or _TEXTUAL.fullmatch(media):
        return False
    if media:
        return True
    try:
        # A cut body may end inside of a character.
        codecs.getincrementaldecoder("utf-8")().decode(answer.body, final=not answer.truncated)
    except UnicodeDecodeError:
        return True
    return b"\0" in answer.body


def _form(text: str) -> object:
    """Values by name, a list where the name is repeated; the text itself where it is too much."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return text
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}
