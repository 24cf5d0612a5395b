"""Inputs of `mongo.query`: operators are the definition's own words, and data never becomes one."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from headrace.contracts.validation import Said
from headrace.engine.errors import StepError
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.ports import (
    MongoAggregate,
    MongoCount,
    MongoDelete,
    MongoFind,
    MongoInsert,
    MongoOperation,
    MongoUpdate,
)
from headrace.engine.steps.base import Inputs
from headrace.engine.steps.connections import ConnectionRef

MAX_DOCUMENTS = 1_000
"""Of one answer or one insert: what a run keeps goes through its journal."""

READS = frozenset(("find", "aggregate", "count"))

_WRITING = frozenset(("$out", "$merge"))
_JAVASCRIPT = frozenset(("$where", "$function", "$accumulator"))

_TAKES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "find": (frozenset(), frozenset(("filter", "projection", "sort", "skip", "limit"))),
    "aggregate": (frozenset(("pipeline",)), frozenset(("limit",))),
    "count": (frozenset(), frozenset(("filter",))),
    "insert": (frozenset(("documents",)), frozenset()),
    "update": (frozenset(("filter", "update")), frozenset(("many", "upsert"))),
    "delete": (frozenset(("filter",)), frozenset(("many",))),
}
"""Inputs of each operation: those it needs, and those it may have."""


def _as_list(value: object) -> object:
    return [cast(object, value)] if isinstance(value, Mapping) else value


def _not_the_systems(name: str) -> str:
    if name.startswith("system."):
        raise ValueError("collections that begin with `system.` are MongoDB's own")
    return name


Document = dict[str, object]
Collection = Annotated[
    str,
    StringConstraints(pattern=r"^[^$\x00]{1,200}$"),
    Said("expected a collection's name: 1 to 200 characters, no $"),
    AfterValidator(_not_the_systems),
]


class MongoQueryInputs(Inputs):
    """One operation on a collection. JSON text is no object here: it could bring operators."""

    connection: ConnectionRef
    operation: Literal["find", "aggregate", "count", "insert", "update", "delete"]
    collection: Collection
    filter: Document = Field(default_factory=dict)
    projection: Document | None = None
    sort: dict[str, Literal[1, -1]] = Field(default_factory=dict)
    skip: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_DOCUMENTS)] = MAX_DOCUMENTS
    pipeline: list[Document] = Field(default_factory=list[Document])
    documents: Annotated[list[Document], BeforeValidator(_as_list), Field(min_length=1, max_length=MAX_DOCUMENTS)] = (
        Field(default_factory=list[Document])
    )
    update: Annotated[
        Document | list[Document], Said("expected an object of operators such as $set, or a list of stages")
    ] = Field(default_factory=dict)
    many: bool = False
    upsert: bool = False

    @model_validator(mode="after")
    def _fits_its_operation(self) -> Self:
        needs, may = _TAKES[self.operation]
        given = self.model_fields_set - {"connection", "operation", "collection"}
        for name in sorted(needs - given):
            raise ValueError(f"{name}: the operation {self.operation} needs it")
        for name in sorted(given - needs - may):
            raise ValueError(f"{name}: the operation {self.operation} does not take it")
        if isinstance(self.update, dict) and not all(name.startswith("$") for name in self.update):
            raise ValueError("update: its names are operators such as $set; a whole document is not replaced")
        _refuse_words((self.filter, self.projection, self.pipeline, self.update))
        return self

    def wanted(self) -> MongoOperation:
        """The operation, for the port."""
        match self.operation:
            case "find":
                order = list(self.sort.items())
                return MongoFind(self.collection, self.filter, self.projection, order, self.skip, self.limit)
            case "aggregate":
                return MongoAggregate(self.collection, self.pipeline, self.limit)
            case "count":
                return MongoCount(self.collection, self.filter)
            case "insert":
                return MongoInsert(self.collection, self.documents)
            case "update":
                return MongoUpdate(self.collection, self.filter, self.update, self.many, self.upsert)
            case "delete":
                return MongoDelete(self.collection, self.filter, self.many)


def _refuse_words(value: object, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[str, object], value).items():
            if name in _WRITING:
                raise ValueError(f"pipeline: {name} writes; aggregate reads, and `insert` or `update` writes")
            if name in _JAVASCRIPT:
                raise ValueError(f"{name} runs JavaScript in the database and is not accepted; use other operators")
            _refuse_words(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in cast(Iterable[object], value):
            _refuse_words(item, depth + 1)


def refuse_operators(value: object, path: str) -> object:
    """`value`, which a template at `path` of the document gave; raises StepError where it would be an operator, or in
    an expression a reference to a field."""
    inside = path.partition(".with.")[2].split(".")
    if "$literal" not in inside:
        _refuse_in_data(value, path, _is_expression(inside), 0)
    return value


def _is_expression(inside: list[str]) -> bool:
    """Whether a text that begins with `$` would be read as a field's name there."""
    if "$expr" in inside or inside[0] == "projection":
        return True
    in_stage = inside[0] in ("pipeline", "update") and (len(inside) == 1 or inside[1].isdigit())
    return in_stage and inside[2:3] != ["$match"]


def _refuse_in_data(value: object, path: str, is_expression: bool, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise StepError("bad_input", f"inputs: {path[:200]}…: nested deeper than {MAX_DEPTH}")
    if isinstance(value, str) and is_expression and value.startswith("$"):
        way_out = "put it under {$literal: …}"
        raise StepError("operator_in_data", f"inputs: {path}: the text begins with $ and would be a field; {way_out}")
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[object, object], value).items():
            if not isinstance(name, str) or name.startswith("$") or ".$" in name or "\0" in name:
                why = "data may bring no name with an operator ($…); operators stand in the definition"
                raise StepError("operator_in_data", f"inputs: {path}: {why}")
            _refuse_in_data(item, f"{path}.{name}", is_expression, depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast(Iterable[object], value)):
            _refuse_in_data(item, f"{path}.{number}", is_expression, depth + 1)
