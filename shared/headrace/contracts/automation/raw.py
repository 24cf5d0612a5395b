"""A document as it was parsed, before anything is known to be right: its steps, and what must hold among them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from headrace.contracts.automation.mistakes import Mistake

Raw = Mapping[str, object]


def raw_steps(document: Raw) -> Iterator[tuple[str, Raw]]:
    """Every step that is an object at least, at any depth, with its path."""
    yield from _steps(document.get("steps"), "steps")


def _steps(steps: object, path: str) -> Iterator[tuple[str, Raw]]:
    for at, step in objects(steps, path):
        yield at, step
        yield from _steps(step.get("steps"), f"{at}.steps")
        for kind in ("branch", "parallel"):
            for inside, each in objects(step.get(kind), f"{at}.{kind}"):
                yield from _steps(each.get("steps"), f"{inside}.steps")


def objects(items: object, path: str) -> Iterator[tuple[str, Raw]]:
    """The objects in a list, each with its path; nothing where it is no list."""
    if isinstance(items, list | tuple):
        for number, item in enumerate(cast(Sequence[object], items)):
            if isinstance(item, Mapping):
                yield f"{path}.{number}", cast(Raw, item)


def disagreements(parsed: object) -> Iterator[Mistake]:
    """Names that are there twice, fields that nobody can give, keys that differ: known however wrong the rest is."""
    if not isinstance(parsed, Mapping):
        return
    document = cast(Raw, parsed)
    steps = list(raw_steps(document))
    yield from _twice([(f"{path}.id", step.get("id")) for path, step in steps], "two steps have the id")
    for path, step in steps:
        for kind, told in (("branch", "two branches have the name"), ("parallel", "two lists have the name")):
            named = objects(step.get(kind), f"{path}.{kind}")
            yield from _twice([(f"{at}.name", each.get("name")) for at, each in named], told)
    trigger = document.get("trigger")
    if document.get("fields") and isinstance(trigger, Mapping) and cast(Raw, trigger).get("type") != "manual":
        yield Mistake("fields", "these are the inputs of a manual trigger; this automation has another")
    yield from _other_keys(document)


def _other_keys(document: Raw) -> Iterator[Mistake]:
    first: tuple[str, str] | None = None
    for path in ("ordering_key", "concurrency.key", "rate.key"):
        name, _, inside = path.partition(".")
        key = document.get(name)
        if inside:
            key = cast(Raw, key).get(inside) if isinstance(key, Mapping) else None
        if not isinstance(key, str):
            continue
        if first is None:
            first = path, key
        elif key != first[1]:
            told = f"another key than {first[0]}; jobs are ordered and limited by one key, so write the same"
            yield Mistake(path, told, first[0])


def _twice(named: Sequence[tuple[str, object]], told: str) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for path, name in named:
        if not isinstance(name, str):
            continue
        earlier = first.setdefault(name, path)
        if earlier is not path:
            yield Mistake(path, f"{told} {name!r}; the first is at {earlier}", earlier)
