"""What the test cases of a document must expect, so that they can fail."""

from collections.abc import Iterator, Mapping
from typing import cast

from headrace.contracts.automation.mistakes import Mistake
from headrace.contracts.automation.raw import Raw, objects

_OF_A_RUN = ("status", "error", "collected", "steps")


def pointless(parsed: object) -> Iterator[Mistake]:
    """Cases that pass whatever happens, and expectations that no run can meet.

    Looked at where an author's file is read, and not in the model: what was saved before stays readable.
    """
    if not isinstance(parsed, Mapping):
        return
    for path, case in objects(cast(Raw, parsed).get("tests"), "tests"):
        expect = case.get("expect", {})
        if isinstance(expect, Mapping):
            yield from _expectation(f"{path}.expect" if "expect" in case else path, cast(Raw, expect))


def _expectation(path: str, expect: Raw) -> Iterator[Mistake]:
    named = [name for name in _OF_A_RUN if name in expect and not (name == "steps" and expect[name] == {})]
    if not named and expect.keys() <= {"steps"}:
        yield Mistake(path, "nothing is expected, so the case always passes; name `status`, `steps`, `collected` or "
                            "`error`, or say `fires: false`")  # fmt: skip
    if expect.get("fires") is False and named:
        without = " and no ".join(named)
        yield Mistake(path, f"without a run (`fires: false`) there is no {without}; leave one of both out")
    if "status" in expect and expect["status"] is None:
        yield Mistake(f"{path}.status", "every run ends with a status; name it, or leave it out")
