"""An event to the automations it triggers. No I/O."""

from headrace.matching.index import Definition, Index, compile_definition
from headrace.matching.matcher import Match, MatchError, match_event, match_row

__all__ = ["Definition", "Index", "Match", "MatchError", "compile_definition", "match_event", "match_row"]
