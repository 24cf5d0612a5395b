"""The sources file: topics that others write, with their format and what their records are to which app."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from headrace.contracts.automation.values import Name
from headrace.contracts.reserved import RESERVED
from headrace.contracts.validation import Said
from headrace.engine.connections import Secret
from headrace.sources.patterns import check_topic, matches

Encoding = Literal["json", "avro", "protobuf", "json_schema"]
"""How values are written: JSON, or bytes of the schema registry's wire format."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


PathTo = Annotated[
    str,
    StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=256),
    Said("expected a path such as order.id"),
]
"""Names with dots between; a number is a place in a list."""


class AtPath(_Part):
    """A value that each record has at a place of its own."""

    path: PathTo


def _own_type(value: str) -> str:
    if value.startswith(RESERVED):
        raise ValueError(f"types that begin with `{RESERVED}` are Headrace's own")
    return value


EventType = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_own_type)]


class _Source(_Part):
    topic: Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(check_topic)]
    """A topic's name, or a pattern that begins with `^` and matches whole names."""
    app: Name
    """Whose automations see the records, whatever they say themselves."""
    begin: Literal["earliest", "latest"] = "earliest"
    """Where a partition is begun of which nothing was ever read: with all that is retained, or with what comes."""


class DebeziumSource(_Source):
    """A Debezium connector's topic: changes of rows."""

    format: Literal["debezium"]
    encoding: Literal["json", "avro", "json_schema"] = "json"
    table: Name | None = None
    """The table in the app; None: the one that each record names."""


class CloudEventsSource(_Source):
    """CloudEvents 1.0 in Kafka's binary or structured mode."""

    format: Literal["cloudevents"]


class PlainSource(_Source):
    """Records that are data and nothing else: an event each, or the row that it is from then on."""

    format: Encoding
    event_type: EventType | AtPath | None = None
    table: Name | None = None
    change: Literal["created", "updated"] | AtPath = "updated"
    """With `table`: what a record with a value means."""
    key: PathTo | None = None
    """Where the key is, which orders; None: the record's own."""
    time: PathTo | None = None
    """Where its time is; None: when Kafka has it from."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.event_type is None) == (self.table is None):
            raise ValueError("give one of `event_type` and `table`: what its records are")
        if self.table is None and self.change != "updated":
            raise ValueError("`change` is of rows; it needs `table`")
        return self


AnySource = DebeziumSource | CloudEventsSource | PlainSource

Source = Annotated[AnySource, Field(discriminator="format")]


def _file(path: Path, info: ValidationInfo) -> Path:
    found = cast("Mapping[str, Path]", info.context or {}).get("directory", Path()) / path
    if not found.is_file():
        raise ValueError(f"the file {found} is not there")
    return found


class RegistryConnection(_Part):
    """Where schemas are."""

    url: Annotated[
        str, StringConstraints(pattern=r"^https?://[^\s@]+$"), Said("expected a URL without credentials: https://…")
    ]
    username: str | None = None
    password: Secret | None = None
    ca_file: Annotated[Path, AfterValidator(_file)] | None = None

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` go together")
        return self


class SourcesFile(_Part):
    """The whole file. A topic is of the entry that has its name, else of the first whose pattern matches it."""

    registry: RegistryConnection | None = None
    sources: tuple[Source, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        topics = [each.topic for each in self.sources]
        for number, each in enumerate(self.sources):
            if each.topic in topics[:number]:
                raise ValueError(f"sources.{number}.topic: {each.topic} is there twice")
            if encoding_of(each) != "json" and self.registry is None:
                raise ValueError(f"sources.{number}: {encoding_of(each)} needs `registry`, where its schemas are")
        return self

    def of(self, topic: str) -> AnySource | None:
        """The source that a topic is."""
        named = next((each for each in self.sources if each.topic == topic), None)
        return named or next((each for each in self.sources if matches(each.topic, topic)), None)


def encoding_of(source: AnySource) -> Encoding:
    """How the values of its records are written."""
    match source:
        case DebeziumSource(encoding=encoding):
            return encoding
        case PlainSource(format=encoding):
            return encoding
        case CloudEventsSource():
            return "json"
