"""`lint`: what validation cannot find."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from headrace.cli.output import Json, UsageError, one_line, print_json
from headrace.contracts.automation import DocumentError
from headrace.documents import Loaded, Located, load_sound
from headrace.linting import Severity, lint

INVALID = "invalid"
"""The rule of findings that are mistakes of a document: `apply` would refuse it."""


class _Line(NamedTuple):
    file: str
    line: int | None
    column: int | None
    severity: Severity
    rule: str
    automation: str | None
    path: str
    message: str
    remedy: str | None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        path = f"{self.path}: " if self.path else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{place}: {self.severity}: {path}{self.message}{remedy} [{self.rule}]")


def lint_files(
    paths: Annotated[list[Path], typer.Argument(help="Files, or directories of them.")], as_json: Json = False
) -> None:
    """Find what validation cannot: unknown step outputs, unreachable branches, plain secrets, cycles and more.

    Cycles are sought among all automations given; of several files, or a directory, it is told which automations are
    called and not among them. Exit codes: 0 nothing but warnings, 1 errors, 2 wrong usage.
    """
    try:
        loaded, wrong = load_sound(*paths)
    except DocumentError as error:
        raise UsageError(str(error)) from None
    # One file is what an editor or a commit looks at; and what cannot be read may be what is called.
    are_all = not wrong and (len(paths) > 1 or any(path.is_dir() for path in paths))
    lines = sorted(
        (*_mistakes(wrong), *_findings(loaded, are_all)), key=lambda each: (each.file, each.line or 0, each.rule)
    )
    if as_json:
        print_json([each._asdict() for each in lines])
    else:
        for each in lines:
            print(each)
        errors = sum(each.severity == "error" for each in lines)
        print(f"{len(loaded)} automations: {errors} errors, {len(lines) - errors} warnings")
    raise typer.Exit(1 if any(each.severity == "error" for each in lines) else 0)


def _mistakes(wrong: Sequence[Located]) -> Iterator[_Line]:
    for each in wrong:
        line, column = each.place or (None, None)
        yield _Line(str(each.file), line, column, "error", INVALID, None, each.mistake.path, each.message, None)


def _findings(loaded: Sequence[Loaded], are_all: bool) -> Iterator[_Line]:
    sources = {each.automation.id: each.source for each in loaded}
    for found in lint([each.automation for each in loaded], are_all=are_all):
        source = sources[found.automation]
        line, column = source.place(found.path)
        yield _Line(
            str(source.file),
            line,
            column,
            found.severity,
            found.rule,
            found.automation,
            found.path,
            found.message,
            found.remedy,
        )
