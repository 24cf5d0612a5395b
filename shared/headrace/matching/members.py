"""What `trigger` holds, by the trigger's type: what the matcher makes, for those that look before there is an event."""

from collections.abc import Mapping

from headrace.contracts.reserved import End

Members = Mapping[str, frozenset[str] | None]
"""By name, with the names of their own parts where these are fixed."""

_ALL: Members = {"type": None, "timestamp": None, "event": frozenset(("id", "source", "type", "subject"))}
_ROW: Members = {**_ALL, "table": None, "id": None, "row": None, "old_row": None, "changed": None}
_END: Members = {**_ALL, "data": frozenset(End.model_fields)}

MEMBERS: Mapping[str, Members] = {
    "row.created": _ROW,
    "row.updated": _ROW,
    "row.deleted": _ROW,
    "event": {**_ALL, "data": None},
    "webhook": {**_ALL, "id": None, "method": None, "headers": None, "query": None, "body": None},
    "cron": {**_ALL, "scheduled": None},
    "manual": {**_ALL, "fields": None},
    "automation.finished": _END,
    "automation.failed": _END,
}
"""By the type that a document's trigger has."""

CONTENT: Mapping[str, str] = {
    "row.created": "row",
    "row.updated": "row",
    "row.deleted": "row",
    "event": "data",
    "webhook": "body",
    "manual": "fields",
}
"""The member below which what others sent stands, under names of theirs."""
