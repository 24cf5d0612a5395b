"""pydantic's complaints, said in our words."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def explain(error: ValidationError, what: str) -> tuple[str, str]:
    """(type, message) of the first mistakes: `not_json` or `bad_shape`, with the path of each; never the values."""
    mistakes = error.errors(include_url=False, include_input=False)
    if mistakes[0]["type"] == "json_invalid":
        return "not_json", f"{what}: not JSON ({mistakes[0]['msg']})"
    told = [f"{dotted(mistake['loc'])}: {_said(mistake)}" for mistake in mistakes[:5]]
    if len(mistakes) > len(told):
        told.append(f"and {len(mistakes) - len(told)} more")
    return "bad_shape", f"{what}: {'; '.join(told)}"


def _said(mistake: ErrorDetails) -> str:
    if mistake["type"] == "union_tag_invalid":  # the one message of pydantic's that quotes the value
        return f"expected one of {mistake.get('ctx', {}).get('expected_tags')}"
    return mistake["msg"]


def dotted(location: Sequence[int | str]) -> str:
    """`("steps", 0, "with")` as `steps.0.with`; the whole document is named so."""
    return ".".join(map(str, location)) or "(whole)"
