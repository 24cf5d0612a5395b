"""A dead letter as JSON shows it, on the command line and over HTTP."""

from base64 import b64encode

from headrace.contracts.deadletters import DeadLetter
from headrace.storage import Letter


def facts(letter: Letter) -> dict[str, object]:
    """What is found of a letter without reading it."""
    return {
        "letter": letter.id,
        "at": letter.at,
        "state": letter.state,
        "service": letter.service,
        "error": letter.error,
        "message": letter.message,
        "source": letter.source,
        "app": letter.app,
        "automation": letter.automation,
        "key": letter.key,
        "run_id": letter.run_id,
        "generation": letter.generation,
    }


def content(whole: DeadLetter) -> dict[str, object]:
    """The record's size, headers and bytes; what is no text is Base64."""
    return {
        "size": whole.size,
        "truncated": whole.truncated,
        "headers": {name: _readable(value) for name, value in whole.headers},
        "value": None if whole.value is None else _readable(whole.value),
    }


def _readable(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}
