"""JSON that we can read and could not write again, or not as it was: found at the door, by a glance at its bytes."""

import json

from pydantic_core import from_json

from headrace.contracts.errors import ContractError

_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""The integers that orjson writes."""

_SUSPECT_DIGITS = 19
"""A whole number of fewer digits is within the bounds, whatever it is; one of more than 20 is not."""

_SURELY_SHALLOW = 150
"""Braces and brackets; a body with fewer of them cannot be nested too deeply. Most have fewer than 30."""

_AROUND = 8
"""Levels of a job around what an event carries, with room."""

_NOT_OPENING = bytes(byte for byte in range(256) if byte not in b"{[")

_ZEROS = b"0" * _SUSPECT_DIGITS
_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))


def refuse_huge_numbers(value: bytes, what: str) -> None:
    """Raises ContractError `not_representable` for a number beyond 64 bits.

    Of JSON that orjson reads: there it would be its nearest double, another number than was sent. What is no JSON at
    all is left to its reader.
    """
    if _ZEROS in value.translate(_DIGITS) and _has_huge_number(value):
        raise ContractError(
            "not_representable", f"{what}: a whole number beyond 64 bits cannot be kept exactly; send it as text"
        )


def refuse_deep(value: bytes, what: str) -> None:
    """Raises ContractError `not_representable` for nesting that no job can hold."""
    if openings(value) >= _SURELY_SHALLOW and _is_too_deep(value):
        raise ContractError("not_representable", f"{what}: its values are nested too deeply")


def openings(text: bytes) -> int:
    """Braces and brackets that open, in texts too; an upper bound of how deeply JSON is nested."""
    # Cheaper than two calls of `count`, which looks at each byte on its own.
    return len(text.translate(None, _NOT_OPENING))


def _has_huge_number(value: bytes) -> bool:
    try:
        json.loads(value, parse_int=_bounded)
    except OverflowError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _bounded(digits: str) -> int:
    # A sign and 20 digits; Python itself refuses to read more than 4,300.
    if len(digits) > _SUSPECT_DIGITS + 2 or not _LEAST <= (number := int(digits)) <= _MOST:
        raise OverflowError
    return number


def _is_too_deep(value: bytes) -> bool:
    try:
        from_json(b"[" * _AROUND + value + b"]" * _AROUND)
    except ValueError as error:
        return "recursion limit" in str(error)
    return False
