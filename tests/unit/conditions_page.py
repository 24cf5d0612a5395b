"""docs/conditions.md, written from the language's rules and not from the code; a test holds both to it.

.venv/bin/python tests/unit/conditions_page.py     # writes the page
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/conditions.md"

MISSING = object()
"""Where a path leads nowhere."""

AT = "2013-01-01T00:00:00Z"
VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "boolean": True,
    "number": 5,
    "numeric text": "5",
    "text": "step 1",
    "empty text": "",
    "ISO text": AT,
    "time": datetime(2013, 1, 1, tzinfo=UTC),
    "array": ["step 1", 5],
    "object": {"step 1": 1},
}
SHOWN = {
    "missing": "–", "null": "`null`", "boolean": "`true`", "number": "`5`", "numeric text": '`"5"`',
    "text": '`"step 1"`', "empty text": '`""`', "ISO text": f'`"{AT}"`', "time": "that time",
    "array": '`["step 1", 5]`', "object": '`{"step 1": 1}`',
}  # fmt: skip
KINDS = tuple(VALUES)

TYPES = {
    "missing": "nothing", "null": "nothing", "boolean": "boolean", "number": "number", "numeric text": "text",
    "text": "text", "empty text": "text", "ISO text": "text", "time": "time", "array": "array", "object": "object",
}  # fmt: skip
CONVERTED = {frozenset(("number", "numeric text")): "number", frozenset(("time", "ISO text")): "time"}
"""The only pairs of different types that are compared, and as what."""

NUMBERS = {"number": 5, "numeric text": 5}
INSTANTS = {"time": 0, "ISO text": 0}


def common(left: str, right: str) -> str | None:
    """The type as which both are compared."""
    return TYPES[left] if TYPES[left] == TYPES[right] else CONVERTED.get(frozenset((left, right)))


def order(left: str, right: str) -> int | None:
    """Below, at or above 0; None where there is no order."""
    type = common(left, right)
    if type == "number":
        return NUMBERS[left] - NUMBERS[right]
    if type == "time":
        return INSTANTS[left] - INSTANTS[right]
    if type == "text":
        one, other = VALUES[left], VALUES[right]
        return (one > other) - (one < other)
    return None


def eq(left: str, right: str) -> bool:
    """`eq`."""
    type = common(left, right)
    if type in ("number", "time", "text"):
        return order(left, right) == 0
    return type == "nothing" or (type is not None and left == right)


def ordered(wanted: Callable[[int], bool]) -> Callable[[str, str], bool]:
    """An op that asks for an order."""
    return lambda left, right: (found := order(left, right)) is not None and wanted(found)


def contains(left: str, right: str) -> bool:
    """`contains`: an array the items "step 1" and 5, an object the name "step 1"."""
    if left == "array":
        return any(eq(item, right) for item in ("text", "number"))
    if left == "object":
        return right == "text"
    return both_text(left, right) and VALUES[right] in VALUES[left]


def both_text(left: str, right: str) -> bool:
    """Whether both are text, of whatever look."""
    return TYPES[left] == TYPES[right] == "text"


def empty(left: str, right: str) -> bool:
    """`empty`."""
    return left in ("missing", "null", "empty text")


RULES: dict[str, Callable[[str, str], bool]] = {
    "eq": eq,
    "ne": lambda left, right: not eq(left, right),
    "gt": ordered(lambda found: found > 0),
    "gte": ordered(lambda found: found >= 0),
    "lt": ordered(lambda found: found < 0),
    "lte": ordered(lambda found: found <= 0),
    "between": ordered(lambda found: found == 0),
    "in": eq,
    "not_in": lambda left, right: not eq(left, right),
    "contains": contains,
    "contains_any": contains,
    "contains_all": contains,
    "starts_with": lambda left, right: both_text(left, right) and VALUES[left].startswith(VALUES[right]),
    "ends_with": lambda left, right: both_text(left, right) and VALUES[left].endswith(VALUES[right]),
    "matches": lambda left, right: both_text(left, right) and re.search(VALUES[right], VALUES[left]) is not None,
    "empty": empty,
    "not_empty": lambda left, right: not empty(left, right),
    "exists": lambda left, right: left != "missing",
    "changed": lambda left, right: not eq(left, right),
    "changed_to": lambda left, right: not eq(left, right),
    "changed_from": lambda left, right: not eq(left, right),
    "is_type": lambda left, right: False,
}
"""Whether each op holds for each pair of kinds."""

IN_AN_ARRAY = ("in", "not_in", "contains_any", "contains_all")
ABOUT = {
    "eq": "The same, by the rules above.",
    "ne": "Not `eq`.",
    "gt": "Greater: of numbers, texts (by their characters) and times.",
    "gte": "Greater or the same.",
    "lt": "Less.",
    "lte": "Less or the same.",
    "between": "Not less than the first and not greater than the second; here both are the same.",
    "in": "`eq` to one of an array; here to the only one.",
    "not_in": "Not `in`.",
    "contains": "A text holds a text, an array an item, an object a name.",
    "contains_any": "`contains` at least one of an array; here the only one.",
    "contains_all": "`contains` all of an array; here the only one.",
    "starts_with": "A text begins with a text.",
    "ends_with": "A text ends with a text.",
    "matches": "A pattern (RE2) is found in a text.",
    "empty": "Nothing, or a text, array or object without anything in it. Takes no value.",
    "not_empty": "Not `empty`. Takes no value.",
    "exists": "The path leads somewhere, be it to null. Takes no value.",
    "changed": "The column was another before; here rows are what it was and columns what it is. Takes no value.",
    "changed_to": (
        "`changed`, and now `eq` to the value; here rows are what it was, columns what it is and the value."
    ),
    "changed_from": (
        "`changed`, and before `eq` to the value; here rows are what it was and the value, columns what it is."
    ),
    "is_type": "Of the type that is named; none of these values names one, the table below shows those that do.",
}

TRUTH: dict[str, tuple[Any, bool]] = {
    "a path that leads nowhere": (MISSING, False),
    "`null`": (None, False),
    "`false`": (False, False),
    "`0`": (0, False),
    '`""`': ("", False),
    '`"   "`': ("   ", False),
    '`"false"`': ("false", False),
    '`" False "`': (" False ", False),
    "`[]`": ([], False),
    "`{}`": ({}, False),
    "`true`": (True, True),
    "`-0.5`": (-0.5, True),
    '`"true"`': ("true", True),
    '`"step 1"`': ("step 1", True),
    '`"0"`': ("0", True),
    '`"no"`': ("no", True),
    '`"false alarm"`': ("false alarm", True),
    "a time": (VALUES["time"], True),
    "`[false]`": ([False], True),
    '`{"a": null}`': ({"a": None}, True),
}
"""Values as the page shows them, and whether they count as true."""

HEAD = """# Conditions

A condition is an expression in a template, or a filter object; both are decided by the same comparisons.

    when: "{{ trigger.row.dep_delay > 60 and trigger.row.carrier in ['UA', 'DL'] }}"

    when:
      all:
        - {field: trigger.row.dep_delay, op: gt, value: 60}
        - any:
            - {field: trigger.row.carrier, op: in, value: [UA, DL]}
            - {field: trigger.row.gate, op: changed}

`all`, `any` and `none` hold lists of comparisons and of filter objects. `field` is a dotted path, `value` may hold
templates.

A condition's template is one expression in `{{ }}`, or statements that write `true` or `false`. Text around it, which
would always be true, and several `{{ }}`, which join to a text, are refused; so is a number: `filter: 1`.

**Comparison is typed.** Values of the same type are compared. Numeric text counts as a number only against a number,
ISO text as a time only against a time. Nothing else is converted, so `"step 1"` is never taken for a date; values of
different types are neither equal nor in any order. Arrays and objects are equal if all that is in them is. A path that
leads nowhere and null are the same to `eq`; only `exists` tells them apart.

## What counts as true

A condition need not be a comparison: `{{ trigger.body.urgent }}` holds if that value counts as true. There is one
rule, wherever it is asked: of a condition as a whole, of the text that a template with statements writes, by `not`,
`and`, `or`, `… if … else …`, `{% if %}`, `{% for … if … %}`, by `select` and `reject` without a test, by
`default(…, true)`, and of switches of filters such as `sort(reverse=…)`. So exactly one of a condition and its
`not` holds, whatever the value.

Nothing, false, zero, and what has nothing in it count as false. So does text that is `false`, in upper or lower
case and with white space around it: it is how forms, headers and templates with statements say false. No other text
does; a template with statements writes text, also where it writes 0 or an empty array.

%TRUTH%

`and` and `or` give the value that decides, as it is: `{{ trigger.body.urgent or trigger.body.late }}`. Comparing is
another matter: the text `"false"` is not `== false`, nor is nothing. In a filter object each comparison holds or
does not; `none` is its `not`.

## Every op with every pair of kinds

The field is the row, the value the column; ● says that it holds. The values are

"""


def page() -> str:
    """The whole page."""
    truth = table(["value", "counts as"], [[shown, str(found).lower()] for shown, (_, found) in TRUTH.items()])
    lines = [
        HEAD.rstrip("\n").replace("%TRUTH%", "\n".join(truth)),
        "",
        *table(["kind", "value"], [[kind, SHOWN[kind]] for kind in KINDS]),
    ]
    for op, holds in RULES.items():
        rows = [[f"**{left}**", *("●" if holds(left, right) else "" for right in KINDS)] for left in KINDS]
        lines += ["", f"### {op}", "", ABOUT[op], "", *table(["", *KINDS], rows)]
    types = sorted(set(TYPES.values()))
    rows = [[f"**{kind}**", *("●" if TYPES[kind] == type else "" for type in types)] for kind in KINDS]
    return "\n".join([*lines, "", "With the types' names:", "", *table(["", *types], rows)]) + "\n"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    PAGE.write_text(page())
