# The packages behind it are untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""Avro, Protobuf and JSON Schema: a schema's text to a reader of values. Comes with the extra `registry` only."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from io import BytesIO
from typing import cast

import fastavro
import orjson
from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from headrace.contracts.bodies import read_body
from headrace.contracts.errors import ContractError

Read = Callable[[bytes], object]
"""An encoded value to plain JSON; raises any exception for bytes that do not fit."""

_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)


def avro_reader(schema: str, referred: Mapping[str, str]) -> Read:
    """Decimals become text, times RFC 3339, bytes base64; what is left behind the value is an error."""
    named: dict[str, object] = {}
    for text in referred.values():
        fastavro.parse_schema(json.loads(text), named_schemas=named)  # pyright: ignore[reportArgumentType]
    parsed = fastavro.parse_schema(json.loads(schema), named_schemas=named)  # pyright: ignore[reportArgumentType]

    def read(value: bytes) -> object:
        stream = BytesIO(value)
        found = fastavro.schemaless_reader(stream, parsed, None)
        if stream.tell() != len(value):
            raise ContractError("bad_avro", f"{len(value) - stream.tell()} bytes are left behind the value")
        return _plain(found)

    return read


def protobuf_reader(schema: str, referred: Mapping[str, str]) -> Read:
    """As Protobuf's own JSON mapping, with the names of the schema: whole numbers of 64 bits are text."""
    pool = DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for name, text in referred.items():
        pool.Add(_file(name, text))  # pyright: ignore[reportAttributeAccessIssue]
    pool.Add(_file("default", schema))  # pyright: ignore[reportAttributeAccessIssue]
    messages = list(pool.FindFileByName("default").message_types_by_name.values())

    def read(value: bytes) -> object:
        stream = BytesIO(value)
        indexes = [_varint(stream) for _ in range(_varint(stream))] or [0]
        found: Descriptor | None = None
        for index in indexes:
            among = messages if found is None else list(found.nested_types)
            if not 0 <= index < len(among):
                raise ContractError("bad_protobuf", f"the schema has no message at {indexes[:8]}")
            found = among[index]
        message = GetMessageClass(cast(Descriptor, found))()
        message.ParseFromString(stream.read())
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=pool
        )

    return read


def json_schema_reader(schema: str, referred: Mapping[str, str]) -> Read:
    """The JSON, once it fits; nothing is fetched for a `$ref` that the registry does not have."""
    told = json.loads(schema)
    resources = [
        (name, Resource.from_contents(json.loads(text), default_specification=DRAFT7))
        for name, text in referred.items()
    ]
    checked = validator_for(told)
    checked.check_schema(told)
    validator = checked(told, registry=Registry().with_resources(resources))

    def read(value: bytes) -> object:
        found = read_body(value)
        wrong = next(validator.iter_errors(found), None)  # pyright: ignore[reportArgumentType]
        if wrong is not None:
            place = ".".join(map(str, wrong.absolute_path))[:256] or "(whole)"
            raise ContractError("bad_shape", f"event: {place} does not fit its schema (`{wrong.validator}`)")
        return found

    return read


READERS: Mapping[str, Callable[[str, Mapping[str, str]], Read]] = {
    "avro": avro_reader,
    "protobuf": protobuf_reader,
    "json_schema": json_schema_reader,
}
"""(schema, referred schemas by name) to a reader; each raises what its library raises for a schema that it refuses."""


def _file(name: str, text: str) -> FileDescriptorProto:
    found = FileDescriptorProto()
    found.ParseFromString(b64decode(text, validate=True))
    found.name = name
    return found


def _varint(stream: BytesIO) -> int:
    """A zigzag varint; of one that is longer than an index can be the message is no message."""
    number = 0
    for shift in range(0, 35, 7):
        byte = stream.read(1)
        if not byte:
            raise EOFError
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            found = (number >> 1) ^ -(number & 1)
            if not 0 <= found <= _MOST_INDEXES:
                break
            return found
    raise ContractError("bad_protobuf", "what should name the message in the schema does not")


_MOST_INDEXES = 10_000
"""Of messages in a schema and of levels; a count beyond would be a loop without end."""


def _plain(value: object) -> object:
    return orjson.loads(orjson.dumps(value, default=_text))


def _text(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return str(value)
