"""What is refused when an automation is saved, and what fails when it runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar


class LanguageError(ValueError):
    """A template or condition that can never work; `path` is its place in the document, line and column are its own.

    `others` are mistakes in parts beside it, where it stands for all of them.
    """

    def __init__(self, path: str, message: str, line: int | None = None, column: int | None = None) -> None:
        self.others: Sequence[LanguageError] = ()
        self.path = path
        self.message = message
        self.line = line
        self.column = column
        place = "" if line is None else f"line {line}, " if column is None else f"line {line}, column {column}: "
        super().__init__(f"{path}: {place}{message}")


_T = TypeVar("_T")


def all_made(makes: Iterable[Callable[[], _T]]) -> list[_T]:
    """What each makes; raises one LanguageError for all that go wrong, so that an author mends them in one go."""
    made: list[_T] = []
    wrong: list[LanguageError] = []
    for make in makes:
        try:
            made.append(make())
        except LanguageError as error:
            wrong += (error, *error.others)
            error.others = ()
    if wrong:
        wrong[0].others = wrong[1:]
        raise wrong[0]
    return made


def placed(error: LanguageError) -> str:
    """The message, with the line and column of the template where they are known."""
    if error.line is None or error.column is None:
        return error.message
    return f"{error.message} (line {error.line}, column {error.column} of the template)"


class TemplateError(Exception):
    """A template failed on this run's data; it becomes the step's error and never text."""

    def __init__(self, message: str, type: Literal["template_error", "template_limit"] = "template_error") -> None:
        super().__init__(message)
        self.type = type
        self.message = message


def limit(message: str) -> TemplateError:
    """A TemplateError for a limit that was reached."""
    return TemplateError(message, "template_limit")


class Misuse(ValueError):
    """A value or argument that a filter, function or operation of templates does not take, in its author's words."""


class Unfit(Misuse):
    """A value of the wrong kind: the value itself, something in it, or the argument of that name.

    Whoever knows by which path the author names it says so: see `signatures.told`.
    """

    def __init__(self, expected: str, found: object, argument: str = "") -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected
        self.found = found
        self.argument = argument
