"""What is wrong with a document, said so that its author can mend it."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.contracts.automation.steps import KINDS, STEP_PARTS
from headrace.contracts.automation.triggers import TRIGGER_TYPES, TRIGGERS
from headrace.contracts.validation import dotted, said, written


class Mistake(NamedTuple):
    """Where (`steps.0.with.url`; "" is the document as a whole) and what; `first` is a path the message refers to."""

    path: str
    message: str
    first: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DocumentError(ValueError):
    """The document is no automation; `mistakes` name the path of each and what was expected there."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        self.mistakes = tuple(each if isinstance(each, Mistake) else Mistake("", each) for each in mistakes)
        super().__init__("; ".join(map(str, self.mistakes)))


def mistakes_of(error: ValidationError, document: object, *parts: type[BaseModel]) -> Iterator[Mistake]:
    """pydantic's complaints about `document`, whose outermost models are `parts`."""
    found = error.errors(include_url=False)
    for mistake in found:
        inner = any(other["loc"][: len(mistake["loc"])] == mistake["loc"] for other in found if other is not mistake)
        if inner and mistake["type"] == "too_short":
            continue  # pydantic counts the items that were valid; the mistakes inside say what is wrong
        location = written(mistake, _without_tags(mistake["loc"]), document)
        yield Mistake(dotted(location) if location else "", _message(mistake, location, parts))


def _message(mistake: ErrorDetails, location: Sequence[int | str], parts: Sequence[type[BaseModel]]) -> str:
    type, given, message = mistake["type"], mistake["input"], said(mistake)
    if not location:
        return "expected an automation: an object with name, app, trigger and steps"
    if type == "extra_forbidden":
        return "unknown name" + _suggestion(str(location[-1]), parts)
    if type == "step_kind":
        return message + _about_kinds(given)
    if type == "union_tag_invalid" and location == ["trigger"]:
        tag = str(mistake.get("ctx", {}).get("tag"))
        return f"unknown trigger type {tag[:64]!r}; {_nearest(tag, TRIGGER_TYPES)}"
    if type == "union_tag_not_found" and location == ["trigger"]:
        return f"a trigger has a `type`: {', '.join(TRIGGER_TYPES)}"
    if type == "literal_error" and isinstance(given, str):
        expected = str(mistake.get("ctx", {}).get("expected"))
        close = get_close_matches(given, [each.strip("'") for each in expected.replace(" or ", ", ").split(", ")], n=1)
        return message + (f"; did you mean `{close[0]}`?" if close else "")
    if message.startswith("expected text") and isinstance(given, int | float):
        return f"{message}; quote the number" if not isinstance(given, bool) else f"{message}; quote the word"
    return message


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
    if not isinstance(step, Mapping):
        return "; this is no object"
    names = [str(name) for name in cast("Mapping[object, object]", step)]
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
