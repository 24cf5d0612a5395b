"""`dlq list`, `dlq show`; what acts on letters is in `redrives`."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from headrace.auditing import action_facts
from headrace.cli import redrives
from headrace.cli.letter_options import (
    App,
    AutomationName,
    ErrorType,
    Key,
    Since,
    State,
    StateOption,
    Until,
    letter_filter,
)
from headrace.cli.output import (
    Failed,
    Json,
    connected_settings,
    one_line,
    print_facts,
    print_json,
    print_lines,
    with_storage,
)
from headrace.contracts.deadletters import DeadLetter
from headrace.letter_facts import content, facts
from headrace.redriving import NotRedrivable, whole_record
from headrace.storage import Action, Letter, LetterFilter, Storage

app = typer.Typer(help="Dead letters: what could not be processed.", no_args_is_help=True)
app.command("redrive")(redrives.redrive)
app.command("discard")(redrives.discard)

DUMPED = 1024
"""Bytes of a value that is no text that are shown: sixty lines; `--raw` has them all."""

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]


@app.command("list")
def list_letters(
    app: App = None,
    automation: AutomationName = None,
    error: ErrorType = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    state: StateOption = State.OPEN,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Dead letters, newest first; those that wait for somebody, if nothing else is asked for."""
    asked = letter_filter(None, app, automation, error, key, since, until, state)
    found = with_storage(connected_settings(), lambda storage: storage.dead_letters.find(asked, limit))
    if as_json:
        print_json([facts(each) for each in found])
        return
    print_lines(
        ("letter", "at", "error", "automation", "key", "run"),
        [
            (each.id, f"{each.at:%Y-%m-%d %H:%M:%S}", each.error, _automation(each), each.key, each.run_id)
            for each in found
        ],
    )


@app.command("show")
def show(
    id: Annotated[str, typer.Argument(help="The letter, as `dlq list` names it", metavar="LETTER")],
    raw: Annotated[bool, typer.Option("--raw", help="The record's bytes as they are, and nothing else")] = False,
    as_json: Json = False,
) -> None:
    """One dead letter: where its record stands, why it could not be processed, and its bytes."""
    settings = connected_settings()
    found = with_storage(settings, lambda storage: _find(storage, id))
    if found is None:
        raise Failed(f"no dead letter {id!r}; `headrace dlq list` shows the newest")
    letter, whole, action = found
    if raw:
        try:
            sys.stdout.buffer.write(asyncio.run(whole_record(settings, whole)).value or b"")
        except NotRedrivable as error:
            sys.stdout.buffer.write(whole.value or b"")
            raise Failed(f"not all of it is there: {error}") from None
        finally:
            sys.stdout.buffer.flush()
    elif as_json:
        print_json({**facts(letter), **content(whole), "action": None if action is None else action_facts(action)})
    else:
        _print(letter, whole, action)


async def _find(storage: Storage, id: str) -> tuple[Letter, DeadLetter, Action | None] | None:
    letters = await storage.dead_letters.find(LetterFilter(ids=(id,), state=None), 1)
    whole = await storage.dead_letters.read([id])
    if not letters or id not in whole:
        return None
    return letters[0], whole[id], await storage.audit.get(letters[0].action)


def _automation(letter: Letter) -> str:
    return f"{letter.app}/{letter.automation}" if letter.automation else letter.app


def _print(letter: Letter, whole: DeadLetter, action: Action | None) -> None:
    told = {name: value for name, value in facts(letter).items() if value != ""}
    if not letter.run_id:
        del told["generation"]
    if action is not None:
        why = f": {action.how['reason']}" if action.how.get("reason") else ""
        told["state"] = f"{letter.state} by {action.by} at {letter.acted_at:%Y-%m-%d %H:%M:%S}{why}"
    for name, value in whole.headers:
        told[f"header {name}"] = value.decode(errors="backslashreplace")
    kept = len(whole.value or b"")
    told["size"] = f"{whole.size} bytes" + (f", the first {kept} are here" if whole.truncated else "")
    print_facts({name: one_line(str(value)) for name, value in told.items()})
    print()
    for line in _lines(whole.value):
        print(line)


def _lines(value: bytes | None) -> Iterator[str]:
    if value is None:
        yield "(no value)"
        return
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        # Text whose end is cut may lack a part of its last character.
        cut_off = error.end == len(value) and error.start >= len(value) - 3 and error.start > 0
        text = value[: error.start].decode() if cut_off else ""
    if text or not value:
        yield from map(one_line, text.split("\n"))
        return
    for start in range(0, min(len(value), DUMPED), 16):
        line = value[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<47}  {shown}"
    if len(value) > DUMPED:
        yield f"… {len(value) - DUMPED} bytes more; --raw has them"
