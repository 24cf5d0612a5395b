"""An event to the automations it triggers. No I/O."""

from headrace.matching.fields import wrong_defaults
from headrace.matching.index import Definition, Index, compile_definition, dedupe_key, refusals
from headrace.matching.matcher import (
    Match,
    MatchError,
    match_end,
    match_event,
    match_row,
    match_start,
    match_tick,
    match_webhook,
)

__all__ = [
    "Definition",
    "Index",
    "Match",
    "MatchError",
    "compile_definition",
    "dedupe_key",
    "match_end",
    "match_event",
    "match_row",
    "match_start",
    "match_tick",
    "match_webhook",
    "refusals",
    "wrong_defaults",
]
