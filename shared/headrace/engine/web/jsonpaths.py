"""Paths into JSON: `$.data.items[0].id`, `data.items.0.id` or `data["odd name"]`."""

import re

from headrace.language.values import MISSING, look_up

MAX_STEPS = 64
"""Names and indexes of a path: no answer that is kept is nested deeper."""

_STEP = re.compile(r"""\.?([^.\[\]"'\s]+)|\[(?P<index>-?[0-9]{1,9})\]|\["([^"]*)"\]|\['([^']*)'\]""")

Path = tuple[str | int, ...]


def parse(text: str) -> Path:
    """The path in `text`; raises ValueError that says what one looks like."""
    rest = text.removeprefix("$") if text.startswith(("$.", "$[")) or text == "$" else text
    path: list[str | int] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        # The dot stands between names; a text that begins with one is a slip.
        if found is None or len(path) == MAX_STEPS or (at > 0 and rest[at] not in ".["):
            raise ValueError(f"expected a path of at most {MAX_STEPS} names, such as data.items[0].id")
        name, index, double, single = found.groups()
        path.append(
            int(index) if index is not None else next(part for part in (name, double, single) if part is not None)
        )
        at = found.end()
    if not path and text != "$":
        raise ValueError("expected a path such as data.items[0].id")
    return tuple(path)


def find(value: object, path: Path) -> tuple[bool, object]:
    """Whether `path` leads somewhere in `value`, and what is there."""
    for step in path:
        value = look_up(value, step)
    return value is not MISSING, value
