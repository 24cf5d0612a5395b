"""What is wrong with a document, said so that its author can mend it."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple, cast

from pydantic import BaseModel, ValidationError

from headrace.contracts.automation.steps import KINDS, STEP_PARTS
from headrace.contracts.automation.triggers import TRIGGER_TYPES, TRIGGERS
from headrace.contracts.validation import dotted


class Mistake(NamedTuple):
    """Where (`steps.0.with.url`; "" is the document as a whole) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DocumentError(ValueError):
    """The document is no automation; `mistakes` name the path of each and what was expected there."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        self.mistakes = tuple(each if isinstance(each, Mistake) else Mistake("", each) for each in mistakes)
        super().__init__("; ".join(map(str, self.mistakes)))


def mistakes_of(error: ValidationError, *parts: type[BaseModel]) -> Iterator[Mistake]:
    """pydantic's complaints about a document whose outermost models are `parts`."""
    found = error.errors(include_url=False)
    for mistake in found:
        inner = any(other["loc"][: len(mistake["loc"])] == mistake["loc"] for other in found if other is not mistake)
        if inner and mistake["type"] == "too_short":
            continue  # pydantic counts the items that were valid; the mistakes inside say what is wrong
        location = _without_tags(mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            message = "unknown name" + _suggestion(str(location[-1]), parts)
        elif mistake["type"] == "step_kind":
            message += _about_kinds(mistake["input"])
        elif mistake["type"] == "union_tag_invalid" and location == ["trigger"]:
            given = str(mistake.get("ctx", {}).get("tag"))
            message = f"unknown trigger type {given[:64]!r}; {_nearest(given, TRIGGER_TYPES)}"
        yield Mistake(dotted(location), message)


def _without_tags(location: tuple[int | str, ...]) -> list[int | str]:
    """pydantic puts the kind it chose into the path; an author never wrote that part."""
    path: list[int | str] = []
    for part in location:
        after_step = len(path) >= 2 and path[-2] == "steps" and isinstance(path[-1], int) and part in KINDS
        after_trigger = path == ["trigger"] and isinstance(part, str) and part in TRIGGER_TYPES
        if (after_step or after_trigger) and not (path and path[-1] is _TAG):
            path.append(_TAG)
            continue
        path.append(part)
    return [part for part in path if part is not _TAG]


_TAG = "\0tag"


def _about_kinds(step: object) -> str:
    if not isinstance(step, dict):
        return ""
    names = [str(name) for name in cast(dict[object, object], step)]
    kinds = [name for name in names if name in KINDS]
    if kinds:
        return f"; this one has {' and '.join(kinds)}"
    known = {field.alias or name for name, field in STEP_PARTS[0].model_fields.items()}
    close = [f"`{near[0]}`" for name in names if name not in known and (near := get_close_matches(name, KINDS, n=1))]
    return f"; did you mean {close[0]}?" if close else ""


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"there are {', '.join(known)}"


def _suggestion(name: str, parts: Sequence[type[BaseModel]]) -> str:
    known = {
        field.alias or name
        for part in (*parts, *TRIGGERS, *STEP_PARTS)
        for name, field in part.model_fields.items()
    }  # fmt: skip
    # A name that is known elsewhere is no misspelling of itself.
    close = get_close_matches(name, sorted({each for each in known if each != name}), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
