"""A table of an app: the columns that its rows may have, and their types."""

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from headrace.contracts.automation import DocumentError, Mistake
from headrace.contracts.automation.fields import FieldType
from headrace.contracts.automation.values import Name, Part
from headrace.contracts.validation import Said, dotted, said, written

MOST_COLUMNS = 500
"""Of a table: MongoDB compares each row that is written with all of them."""

MOST_OPTIONS = 1_000
"""Of a column: what people choose from."""

ColumnName = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f$_.][^\x00-\x1f.]{0,63}$"),
    Said("expected a column's name: 1 to 64 characters without dots, the first one neither `$` nor `_`"),
]
Option = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _no_twice(options: Sequence[str]) -> Sequence[str]:
    if len(set(options)) < len(options):
        raise ValueError("an option is there twice")
    return options


class Column(Part):
    """What a row may hold under a name. Where it is not `required` it may also be null or absent.

    `number` is any number, `time` a moment and not its text. `options` are the only texts that are taken.
    """

    type: FieldType = "any"
    required: bool = False
    options: Annotated[tuple[Option, ...], Field(max_length=MOST_OPTIONS), AfterValidator(_no_twice)] = ()
    description: str = ""

    @model_validator(mode="after")
    def _options_are_text(self) -> "Column":
        if self.options and self.type != "text":
            raise ValueError("only a column of the type text has `options`")
        return self


def _short(value: object) -> object:
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping | Column):
        return cast(object, value)
    raise ValueError("expected a type such as text, or an object with `type`, `required`, `options`, `description`")


def _not_too_many(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    if len(columns) > MOST_COLUMNS:
        raise ValueError(f"it has {len(columns)} columns; {MOST_COLUMNS} are accepted")
    return columns


class Table(Part):
    """A table's definition. `open`: rows may have further columns, of any type."""

    name: Name
    app: Name
    description: str = ""
    columns: Annotated[
        Mapping[ColumnName, Annotated[Column, BeforeValidator(_short, json_schema_input_type=FieldType | Column)]],
        AfterValidator(_not_too_many),
    ]
    """By name; `name: text` is short for `name: {type: text}`."""
    open: bool = False

    @property
    def id(self) -> str:
        """app/name."""
        return f"{self.app}/{self.name}"


def parse_table(document: object) -> Table:
    """The table in a parsed YAML or JSON document; raises DocumentError with every mistake's path."""
    try:
        return Table.model_validate(document)
    except ValidationError as error:
        raise DocumentError(
            *(
                Mistake(dotted(path) if (path := written(each, each["loc"], document)) else "", said(each))
                for each in error.errors(include_url=False, include_input=False)
            )
        ) from None
