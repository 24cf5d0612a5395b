"""`docs`: pages that are made of the code."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.engine.steps import OURS
from headrace.step_pages import pages

app = typer.Typer(help="Pages of the docs that are made of the code.", no_args_is_help=True)


@app.callback()
def docs() -> None:
    """Pages of the docs that are made of the code."""


@app.command("steps")
def steps(out: Annotated[Path, typer.Option(help="The directory of the pages.")] = Path("docs/steps")) -> None:
    """Writes a page for each step that comes with Headrace; pages of steps that are no more are removed."""
    written = pages(OURS)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (out / name).write_text(text)
    print(f"{len(written)} pages in {out}")
