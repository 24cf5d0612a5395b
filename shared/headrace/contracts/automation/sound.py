"""The sound parts of a document whose other parts are not: they can be compiled, and their mistakes told as well."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from headrace.contracts.automation.bounds import Concurrency, Rate
from headrace.contracts.automation.document import Automation
from headrace.contracts.automation.kept import too_deep
from headrace.contracts.automation.raw import Raw, raw_steps
from headrace.contracts.automation.steps import KINDS, Step
from headrace.contracts.automation.triggers import ManualTrigger, Trigger

_STEP: TypeAdapter[Step] = TypeAdapter(Step)
_TRIGGER: TypeAdapter[Trigger] = TypeAdapter(Trigger)


class Sound(NamedTuple):
    """An automation of nothing but sound parts, whose steps stand side by side; `paths` are those of the steps in the
    document."""

    automation: Automation
    paths: Sequence[str]

    def path(self, path: str) -> str:
        """The path in the document of a part of `automation`."""
        kind, _, rest = path.partition(".")
        number, _, inside = rest.partition(".")
        if kind != "steps" or not number.isdecimal():
            return path
        return f"{self.paths[int(number)]}.{inside}" if inside else self.paths[int(number)]


def sound_parts(document: Raw) -> Sound | None:
    """What of `document` is sound: steps, each without those inside of it, the trigger, the key; None if none.

    A step counts as sound if it is so once mistaken names are left out of it, unless they are its kind or its inputs:
    of such a step its `when` does.
    """
    if too_deep(document) is not None:
        return None
    steps = ((path, _sound(_STEP, _alone(raw)) or _when(raw)) for path, raw in raw_steps(document))
    found = [(path, step) for path, step in steps if step is not None]
    raw = document.get("trigger")
    trigger = _sound(_TRIGGER, dict(cast(Raw, raw))) if isinstance(raw, Mapping) else None
    keys = _keys(document)
    if not found and trigger is None and not keys:
        return None
    kept = [step for _, step in found] or [_STEP.validate_python(_FILLER)]
    automation = Automation(
        name="sound",
        app="sound",
        ordering_key=keys.get("ordering_key"),
        concurrency=Concurrency(key=keys["concurrency"], limit=1) if "concurrency" in keys else None,
        rate=Rate(key=keys["rate"], limit=1, per=1) if "rate" in keys else None,
        trigger=ManualTrigger(type="manual") if trigger is None else trigger,
        steps=tuple(kept),
    )
    return Sound(automation, [path for path, _ in found])


def _keys(document: Raw) -> Mapping[str, str]:
    keys = {"ordering_key": document.get("ordering_key")}
    for name in ("concurrency", "rate"):
        raw = document.get(name)
        keys[name] = cast(Raw, raw).get("key") if isinstance(raw, Mapping) else None
    return {name: key for name, key in keys.items() if isinstance(key, str) and key}


_FILLER: Raw = {"id": "filler", "collect": None}
"""In the place of what is compiled by itself."""

_NEEDED: Mapping[str, object] = {
    "id": "filler",
    "name": "filler",
    "type": "filler",
    "automation": "filler",
    "key": "filler",
    "timeout": 1,
    "over": [],
    "when": True,
    "table": "filler",
    "event": "filler",
    "schedule": "@daily",
}
"""What stands in the place of what is mistaken and must be given: nothing in it could be compiled anyway."""


_PartT = TypeVar("_PartT")


def _sound(kind: TypeAdapter[_PartT], part: dict[str, object]) -> _PartT | None:
    """The part, mended; `part` is changed."""
    for _ in range(2):
        try:
            return kind.validate_python(part)
        except ValidationError as error:
            for mistake in error.errors(include_url=False):
                if not _mend(part, mistake["loc"][1:]):  # the first part is the kind
                    return None
    return None


def _when(raw: Raw) -> Step | None:
    """A step that has nothing but the condition of one whose kind is mistaken."""
    return _sound(_STEP, {**_FILLER, "when": raw["when"]}) if raw.get("when") is not None else None


def _alone(raw: Raw) -> dict[str, object]:
    """A copy without the steps inside, down to where `_mend` changes it."""
    step = {name: _copied(value) for name, value in raw.items()}
    if "steps" in step:
        step["steps"] = [_FILLER]
    for kind in ("branch", "parallel"):
        for each in _objects(step.get(kind)):
            if "steps" in each:
                each["steps"] = [_FILLER]
    return step


def _copied(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast(Raw, value))
    if isinstance(value, list | tuple):
        return [dict(cast(Raw, each)) if isinstance(each, Mapping) else each for each in cast(Sequence[object], value)]
    return value


def _objects(value: object) -> Iterator[dict[str, object]]:
    for each in cast("list[object]", value) if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield cast("dict[str, object]", each)


def _mend(part: dict[str, object], location: Sequence[int | str]) -> bool:
    """Fills or leaves out what is mistaken at `location`; says whether the rest can be compiled without it."""
    if not location or location[0] in ("use", "with"):
        return False
    holder: object = part
    for at in location[:-1]:
        if isinstance(holder, dict) and at in holder:
            holder = cast("dict[int | str, object]", holder)[at]
        elif isinstance(holder, list) and isinstance(at, int) and at < len(cast("list[object]", holder)):
            holder = cast("list[object]", holder)[at]
    name = location[-1]
    if not isinstance(holder, dict) or not isinstance(name, str) or (holder is part and name in KINDS):
        return False
    named = cast("dict[str, object]", holder)
    if name in _NEEDED:
        named[name] = _NEEDED[name]
    elif name in named:
        del named[name]
    else:
        return False
    return True
