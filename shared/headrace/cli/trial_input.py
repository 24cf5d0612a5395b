"""What `run` is given on the command line, read: the event, and the stubs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from headrace.cli.output import UsageError


def read_event(given: str) -> object:
    """The event: JSON, a file of it, or `-` for standard input. Raises UsageError."""
    return parsed("--event", _text(given))


def read_stubs(given: Sequence[str]) -> dict[str, object]:
    """Stubs by step, of texts `step=JSON`. Raises UsageError."""
    stubs: dict[str, object] = {}
    for each in given:
        id, equals, text = each.partition("=")
        if not equals:
            raise UsageError(f"--stub {id}: expected step=JSON")
        if id in stubs:
            raise UsageError(f"--stub {id} is given twice; a list of stubs is one for each iteration of a loop")
        stubs[id] = parsed(f"--stub {id}", text)
    return stubs


def parsed(option: str, text: str) -> object:
    """The JSON value in `text`, of which every name counts; raises UsageError."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{option}: not JSON ({error})") from None
    # orjson keeps the last of two values of a name, and the author would never know of the first.
    try:
        # Numbers are as they are: Python refuses to read very long ones.
        json.loads(text, object_pairs_hook=_once, parse_int=str)
    except _Twice as error:
        raise UsageError(f"{option}: the name {error.name!r} is in one object twice") from None
    except RecursionError:
        raise UsageError(f"{option}: its arrays and objects are nested too deeply") from None
    return value


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _once(pairs: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise _Twice(name)
        names.add(name)


def _text(given: str) -> str:
    if given.lstrip().startswith(("{", "[", '"')):
        return given
    if not given:
        raise UsageError("--event: it is empty; expected JSON, a file of it, or -")
    option = f"--event {_short(given)}"
    if given == "-":
        content = sys.stdin.buffer.read()
    else:
        try:
            content = Path(given).read_bytes()
        except FileNotFoundError:
            raise UsageError(f"{option}: no such file; inline JSON begins with {{") from None
        except IsADirectoryError:
            raise UsageError(f"{option}: a directory; expected a file that holds one event") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{option}: no file that can be read ({why}); inline JSON begins with {{") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: not UTF-8 (byte {error.start}); JSON is") from None


_LONGEST = 100
"""Characters of what was given that an error repeats: what is no file's name may be a whole document."""


def _short(given: str) -> str:
    return given if len(given) <= _LONGEST else given[:_LONGEST] + "…"
