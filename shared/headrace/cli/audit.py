"""`audit`: what was done to the installation."""

from typing import Annotated

import typer

from headrace.auditing import action_facts
from headrace.cli.output import Json, connected_settings, print_json, print_lines, with_storage
from headrace.storage import Action


def audit(limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20, as_json: Json = False) -> None:
    """What people did: by whom, when, to what and to how many; newest first."""
    found = with_storage(connected_settings(), lambda storage: storage.audit.find(limit))
    if as_json:
        print_json([action_facts(each) for each in found])
        return
    print_lines(
        ("at", "action", "by", "count", "ended", "to what", "how"),
        [
            (
                f"{each.at:%Y-%m-%d %H:%M:%S}",
                each.action,
                each.by,
                each.count,
                each.ended or _unended(each),
                dict(each.asked),
                {name: value for name, value in each.how.items() if value},
            )
            for each in found
        ],
    )


def _unended(action: Action) -> str:
    """It goes on, or it was killed: what it has last done tells which."""
    return (
        "not yet, or killed" if action.counted_at is None else f"not yet, or killed; last {action.counted_at:%H:%M:%S}"
    )
