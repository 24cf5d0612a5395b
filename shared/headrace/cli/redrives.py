"""`dlq redrive`, `dlq discard`."""

import asyncio
import getpass
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace.cli.letter_options import (
    App,
    AutomationName,
    By,
    DryRun,
    ErrorType,
    Everything,
    Ids,
    Key,
    Since,
    State,
    StateOption,
    Until,
    letter_filter,
    refuse_everything,
    refuse_others,
)
from headrace.cli.output import Json, UsageError, check_reason, connected_settings, one_line, print_json, with_storage
from headrace.letter_actions import Done, as_of_now
from headrace.letter_actions import discard as discard_letters
from headrace.letter_actions import redrive as redrive_letters
from headrace.redriving import How
from headrace.settings import Settings
from headrace.storage import LetterFilter, Storage

INTERRUPTED = 130
"""As of any program that Ctrl-C ended."""


class Version(StrEnum):
    """With which version of its automation a run goes on."""

    SAME = "same"
    LATEST = "latest"


def redrive(
    ids: Ids = None,
    app: App = None,
    automation: AutomationName = None,
    error: ErrorType = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    state: StateOption = State.OPEN,
    everything: Everything = False,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="A run goes on at the step that failed, or begins anew")
    ] = True,
    version: Annotated[Version, typer.Option("--version", help="The version that the run had, or the live one")] = (
        Version.SAME
    ),
    rate: Annotated[str | None, typer.Option("--rate", help="At most so many a second, for example 200/s")] = None,
    value: Annotated[
        Path | None,
        typer.Option(
            "--value", help="Bytes to go in place of the one letter's", exists=True, dir_okay=False, readable=True
        ),
    ] = None,
    dry_run: DryRun = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take dead letters up again: runs in their next generation, other records to where they came from."""
    asked = letter_filter(ids, app, automation, error, key, since, until, state)
    refuse_everything(asked, everything)
    if value is not None and asked != LetterFilter(ids=asked.ids[:1], state=asked.state):
        raise UsageError("--value goes with exactly one letter, and no filter")
    how = How(not resume, version.value, None if value is None else value.read_bytes())
    most = None if rate is None else _per_second(rate)

    async def act(settings: Settings, storage: Storage, asked: LetterFilter, stop: asyncio.Event) -> Done:
        return await redrive_letters(settings, storage, asked, how, by or getpass.getuser(), stop, most)

    _do("redriven", asked, act, dry_run, as_json)


def discard(
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs them any more; for the audit")],
    ids: Ids = None,
    app: App = None,
    automation: AutomationName = None,
    error: ErrorType = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    state: StateOption = State.OPEN,
    everything: Everything = False,
    dry_run: DryRun = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put dead letters away: they are shown no more as open, and redriven no more by a filter."""
    asked = letter_filter(ids, app, automation, error, key, since, until, state)
    refuse_everything(asked, everything)
    check_reason(reason)

    async def act(_settings: Settings, storage: Storage, asked: LetterFilter, stop: asyncio.Event) -> Done:
        return await discard_letters(storage, asked, reason, by or getpass.getuser(), stop)

    _do("discarded", asked, act, dry_run, as_json)


Act = Callable[[Settings, Storage, LetterFilter, asyncio.Event], Awaitable[Done]]


def _do(what: Literal["redriven", "discarded"], asked: LetterFilter, act: Act, dry_run: bool, as_json: bool) -> None:
    settings = connected_settings()

    async def work(storage: Storage) -> Done | int:
        await refuse_others(storage, asked)
        if dry_run:
            return await storage.dead_letters.count(as_of_now(asked))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await act(settings, storage, as_of_now(asked), stop)

    found = with_storage(settings, work)
    if isinstance(found, int):
        _tell(as_json, {"would_be": what, "count": found}, f"{found} would be {what}")
        return
    done = found.tally
    told = {"action": done.id, what: done.count, "refused": found.refused_count, "others": found.others_count}
    refused = [{"letter": id, "reason": why} for id, why in found.refused]
    stopped = "; interrupted, the same command does the rest" if done.is_interrupted else ""
    others = f", {found.others_count} by another command meanwhile" if found.others_count else ""
    left = f", {found.refused_count} not" if found.refused_count else ""
    _tell(
        as_json,
        {**told, "reasons": refused, "interrupted": done.is_interrupted},
        f"{done.count} {what}{others}{left}{stopped} (action {done.id})",
    )
    for id, why in () if as_json else found.refused:
        print(one_line(f"{id}: {why}"), file=sys.stderr)
    if done.is_interrupted or found.refused_count:
        raise typer.Exit(INTERRUPTED if done.is_interrupted else 1)


def _tell(as_json: bool, facts: dict[str, object], sentence: str) -> None:
    if as_json:
        print_json(facts)
    else:
        print(sentence)


def _per_second(rate: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,6})(/s)?", rate)
    if found is None:
        raise UsageError(f"--rate: {rate!r} is no number of letters a second, such as 200/s")
    return int(found[1])
