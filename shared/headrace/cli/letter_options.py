"""The options by which dead letters are chosen, and what they mean together."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.output import Failed, UsageError
from headrace.storage import Letter, LetterFilter, LetterState, Storage


class State(StrEnum):
    """What may have become of a letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


Ids = Annotated[list[str] | None, typer.Argument(help="Letters, as `dlq list` names them", metavar="[LETTER]...")]
App = Annotated[str | None, typer.Option("--app")]
AutomationName = Annotated[str | None, typer.Option("--automation", help="The automation's name, without its app")]
ErrorType = Annotated[str | None, typer.Option("--error", help="The type of the reason, for example not_json")]
Key = Annotated[str | None, typer.Option("--key", help="A run's ordering key, else the record's key")]
Since = Annotated[datetime | None, typer.Option("--since", help="UTC")]
Until = Annotated[datetime | None, typer.Option("--until", help="UTC; not within")]
StateOption = Annotated[State, typer.Option("--state")]
Everything = Annotated[bool, typer.Option("--all", help="All there are, where neither letters nor a filter are given")]
By = Annotated[str | None, typer.Option("--by", help="Who does it, for the audit; else the user of this process")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count")]


def letter_filter(
    ids: list[str] | None,
    app: str | None,
    automation: str | None,
    error: str | None,
    key: str | None,
    since: datetime | None,
    until: datetime | None,
    state: State,
) -> LetterFilter:
    """What the options choose together."""
    in_state: LetterState = state.value
    return LetterFilter(tuple(ids or ()), app, automation, error, key, _utc(since), _utc(until), in_state)


def refuse_everything(asked: LetterFilter, everything: bool) -> None:
    """Raises UsageError where a slip of the hand would act on all letters."""
    if asked == LetterFilter(state=asked.state) and not everything:
        raise UsageError("which? name letters, give a filter (--app, --error, …), or say --all")


async def refuse_others(storage: Storage, asked: LetterFilter) -> None:
    """Raises Failed for a letter that was named and is not there, or not in the state that is asked for."""
    found: dict[str, Letter] = {}
    if asked.ids:
        named = LetterFilter(ids=asked.ids, state=None)
        found = {each.id: each for each in await storage.dead_letters.find(named, len(asked.ids))}
    for id in asked.ids:
        if id not in found:
            raise Failed(f"no dead letter {id!r}; `headrace dlq list` shows the newest")
        if (letter := found[id]).state != asked.state:
            when = "" if letter.acted_at is None else f" since {letter.acted_at:%Y-%m-%d %H:%M:%S}"
            raise Failed(f"{id} is {letter.state}{when} (action {letter.action}); --state {letter.state} chooses it")


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
