"""A table's definition: what is taken, and what is refused with the path of each mistake."""

from typing import Any

import pytest

from headrace.contracts.automation import DocumentError
from headrace.contracts.tables import parse_table

pytestmark = pytest.mark.unit


def test_a_type_alone_is_short_for_a_column() -> None:
    table = parse_table({"app": "a", "name": "t", "columns": {"first name": "text", "n": {"type": "number"}}})
    assert [column.type for column in table.columns.values()] == ["text", "number"]
    assert (table.id, table.open, table.columns["n"].required) == ("a/t", False, False)


@pytest.mark.parametrize(
    ("columns", "mistakes"),
    [
        ({"a": "string"}, ["columns.a: expected one of 'text', 'number'"]),
        ({"a": 1}, ["columns.a: expected a type such as text"]),
        ({"_id": "text", "$x": "text", "a.b": "text", "": "text"}, ["expected a column's name"] * 4),
        ({"a": {"type": "number", "options": ["x"]}}, ["columns.a: only a column of the type text has `options`"]),
        ({"a": {"type": "text", "options": ["x", "x"]}}, ["columns.a.options: an option is there twice"]),
        ({"a": {"typ": "text"}}, ["columns.a.typ: unknown name"]),
        ({f"c{n}": "any" for n in range(501)}, ["columns: it has 501 columns; 500 are accepted"]),
    ],
)
def test_mistakes_are_told_with_their_paths(columns: Any, mistakes: list[str]) -> None:
    with pytest.raises(DocumentError) as error:
        parse_table({"app": "a", "name": "t", "columns": columns})
    found = list(map(str, error.value.mistakes))
    assert len(found) == len(mistakes), found
    assert all(expected in told for expected, told in zip(mistakes, found, strict=True)), found
