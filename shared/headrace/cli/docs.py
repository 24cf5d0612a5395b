"""`docs`: pages that are made of the code."""

import os
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import UsageError
from headrace.engine.steps import OURS
from headrace.step_pages import MARKER, pages

MARK = MARKER.encode()

app = typer.Typer(help="Pages of the docs that are made of the code.", no_args_is_help=True)


@app.callback()
def docs() -> None:
    """Pages of the docs that are made of the code."""


@app.command("steps")
def steps(out: Annotated[Path, typer.Option(help="The directory of the pages.")] = Path("docs/steps")) -> None:
    """Writes a page for each step that comes with Headrace; pages of steps that are no more are removed.

    Other files in the directory stay as they are. Where one stands in the place of a page, nothing is written.
    """
    written = pages(OURS)
    out.mkdir(parents=True, exist_ok=True)
    there = [file for file in out.glob("*.md") if is_written_by_us(file)]
    others = [name for name in written if os.path.lexists(out / name) and out / name not in there]
    if others:
        raise UsageError(
            f"{out}: {', '.join(others)} would be overwritten, and was not written by `headrace docs steps`; nothing "
            "was written. Move it away, or choose another directory with --out"
        )
    for old in there:
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (out / name).write_text(text, encoding="utf-8")
    print(f"{len(written)} pages in {out}")


def is_written_by_us(file: Path) -> bool:
    """Whether it is a page that an earlier `docs steps` left: only such a one may be replaced or removed."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(len(MARK)) == MARK
