"""Rules about what templates take from the trigger."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from headrace.contracts.automation import Automation
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import located_steps, trigger_uses, uses
from headrace.matching.members import CONTENT, MEMBERS, Members


def unknown_members(automation: Automation) -> Iterator[Finding]:
    """Members that `trigger` never has for this type of trigger."""
    members = _members(automation)
    for path, parts in trigger_uses(automation):
        if parts[0] == "trigger":
            yield from _judged(automation, members, path, parts, 1)
        elif parts[0] != "now":
            yield from _judged(automation, members, path, parts, 0)
    for use in (use for located in located_steps(automation) for use in uses(located)):
        if use.parts[0] == "trigger":
            yield from _judged(automation, members, use.path, use.parts, 1)
        elif use.parts[:2] == ("steps", "0"):
            yield from _judged(automation, members, use.path, use.parts, 2)


def _members(automation: Automation) -> Members:
    members = MEMBERS[automation.trigger.type]
    return {**members, "fields": frozenset(automation.fields)} if "fields" in members else members


def _judged(automation: Automation, members: Members, path: str, parts: Sequence[str], at: int) -> Iterator[Finding]:
    """`parts[at]` is to be a member, and what follows it one of its own."""
    if at >= len(parts):
        return
    type, before, name = automation.trigger.type, parts[:at], parts[at]
    if name not in members:
        told = f"a {type} trigger has no {name!r}"
        yield _finding(automation, path, parts, told, _remedy(members, before, name, CONTENT.get(type)))
        return
    inner = members[name]
    if inner is not None and at + 1 < len(parts) and parts[at + 1] not in inner:
        told = f"`{'.'.join((*before, name))}` of a {type} trigger has no {parts[at + 1]!r}"
        remedy = _remedy(inner, (*before, name), parts[at + 1], None)
        yield _finding(automation, path, parts, told, "declare it in `fields`" if not inner else remedy)


def _remedy(known: Collection[str], before: Sequence[str], name: str, content: str | None) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean `{'.'.join((*before, close[0]))}`?"
    if content is not None:
        return f"what it carries is below `{content}`: did you mean `{'.'.join((*before, content, name))}`?"
    return f"it has {', '.join(sorted(known))}"


def _finding(automation: Automation, path: str, parts: Sequence[str], message: str, remedy: str) -> Finding:
    told = f"{{{{ {'.'.join(parts)} }}}}: {message}: the value is always empty"
    return Finding("unknown-member", RULES["unknown-member"].severity, automation.id, path, told, remedy)
