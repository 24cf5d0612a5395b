"""What an answer says to a template: its body parsed by its content type, and how long it asks to be left alone."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
    name = charset[1].lower() if charset else "utf-8"
    return answer.body.decode(name if name in _CHARSETS else "utf-8", errors="replace")
