"""A change of a row, in Debezium's envelope (the `payload` part; a Debezium topic without schemas)."""

from collections.abc import Mapping
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts import limits
from headrace.contracts.errors import ContractError
from headrace.contracts.representable import refuse_deep, refuse_huge_numbers
from headrace.contracts.validation import explain


class RowSource(BaseModel):
    """Where the change was made; further fields of a connector are kept out of the way."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str
    db: str = ""
    ts_ms: int | None = None


class RowChange(BaseModel):
    """`before` and `after` are the row's images; which of them must be there follows from `op`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    op: Literal["c", "u", "d", "r"]
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    source: RowSource
    ts_ms: int | None = None

    @property
    def changed(self) -> list[str]:
        """Names of the columns whose values differ between the images, sorted; all of them when one is missing."""
        before, after = self.before or {}, self.after or {}
        if not before or not after:
            return sorted(before or after)
        return sorted(
            name
            for name in before.keys() | after.keys()
            if not _same(before.get(name, _ABSENT), after.get(name, _ABSENT))
        )


_ABSENT = object()


def _same(left: object, right: object) -> bool:
    """Equal, and so are all values in it: to Python true is 1."""
    if left != right:
        return False
    if isinstance(left, dict):
        before, after = cast("dict[str, object]", left), cast("dict[str, object]", right)
        return all(_same(value, after[name]) for name, value in before.items())
    if isinstance(left, list):
        return all(map(_same, cast("list[object]", left), cast("list[object]", right)))
    return isinstance(left, bool) is isinstance(right, bool)


def read_row_change(value: bytes | None) -> RowChange:
    """The row change in a record's value; raises ContractError."""
    if value is None:
        raise ContractError("no_body", "the record has no value; expected a row change")
    if len(value) > limits.RECORD:
        raise ContractError("over_limit", f"the row change has {len(value)} bytes; {limits.RECORD} are accepted")
    refuse_deep(value, "row change")
    try:
        change = RowChange.model_validate_json(value)
    except ValidationError as error:
        refuse_huge_numbers(value, "row change")  # only of thousands of digits: shorter ones are read as they are
        raise ContractError(*explain(error, "row change")) from None
    if change.op == "d" and change.before is None:
        raise ContractError("bad_shape", "row change: op 'd' needs 'before'")
    if change.op != "d" and change.after is None:
        raise ContractError("bad_shape", f"row change: op {change.op!r} needs 'after'")
    return change


def row_key(app: str, table: str, row_id: str) -> str:
    """The record key of a row's changes: all of one row's are in one partition, in order."""
    return f"{app}/{table}/{row_id}"


def row_id_of(key: bytes | None, app: str, change: RowChange) -> str:
    """The row's id: the record key's last part, else the row's own `_id` or `id`, else ""."""
    start = f"{app}/{change.source.table}/"
    text = "" if key is None else key.decode(errors="replace")
    if text.startswith(start):
        return text[len(start) :]
    row: Mapping[str, object] = change.after or change.before or {}
    found = row.get("_id", row.get("id"))
    return "" if found is None else str(found)
