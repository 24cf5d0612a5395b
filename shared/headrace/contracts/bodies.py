"""A body of JSON that can be written again as it was."""

import orjson

from headrace.contracts import limits
from headrace.contracts.errors import ContractError
from headrace.contracts.representable import refuse_deep, refuse_huge_numbers


def read_body(value: bytes | None, most: int = limits.EVENT_BODY, what: str = "event") -> object:
    """The value in at most `most` bytes, None of none; raises ContractError."""
    if value is None:
        return None
    if len(value) > most:
        raise ContractError("over_limit", f"the {what}'s body has {len(value)} bytes; {most} are accepted")
    refuse_huge_numbers(value, what)
    refuse_deep(value, what)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ContractError("not_json", f"{what}: not JSON ({error})") from None
