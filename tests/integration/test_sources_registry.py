"""Values in a schema registry's wire format, asked for over HTTP from a registry of the test's own."""

import json
from base64 import b64encode
from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st
from schema_registry import SchemaRegistry, framed

from headrace.contracts.errors import ContractError
from headrace.sources import Decoded, Sources
from headrace.sources.encodings import READERS, avro_reader, json_schema_reader, protobuf_reader
from headrace.sources.model import SourcesFile
from headrace.sources.registry import decoder_of
from headrace.streams import Record, Unavailable

pytestmark = pytest.mark.integration

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "raw", "type": "bytes"},
    ],
}
VALUE = {"id": 7, "total": Decimal("12.34"), "at": datetime(2013, 1, 31, 10, tzinfo=UTC), "raw": b"\x01\x02"}
PLAIN = {"id": 7, "total": "12.34", "at": "2013-01-31T10:00:00+00:00", "raw": "AQI="}


@pytest.fixture
def registry() -> Generator[SchemaRegistry]:
    with SchemaRegistry().served() as served:
        yield served


def avro(schema: Any, value: Any) -> bytes:
    written = BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema), value)
    return written.getvalue()


def message_schema() -> str:
    """Of `message Order { int64 id = 1; message Line { string sku = 1; } }`, as the registry serialises it."""
    file = FileDescriptorProto(name="order.proto", syntax="proto3")
    order = file.message_type.add(name="Order")
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    order.field.add(name="order_id", number=1, type=FieldDescriptorProto.TYPE_INT64, label=optional)
    line = order.nested_type.add(name="Line")
    line.field.add(name="sku", number=1, type=FieldDescriptorProto.TYPE_STRING, label=optional)
    return b64encode(file.SerializeToString()).decode()


def read(registry: SchemaRegistry, format: str, value: bytes, key: bytes = b"k", **more: Any) -> Decoded:
    entry = {"topic": "t", "format": format, "app": "shop", "event_type": "order.paid", **more}
    entry = {name: each for name, each in entry.items() if each is not None}
    file = SourcesFile.model_validate({"registry": {"url": registry.url}, "sources": [entry]})
    found = Sources(file, decoder_of(file)).read(Record("t", 0, 0, 0, key, value, ()))
    assert isinstance(found, Decoded)
    return found


def refused(registry: SchemaRegistry, format: str, value: bytes) -> str:
    with pytest.raises(ContractError) as caught:
        read(registry, format, value)
    return caught.value.type


def test_avro_is_plain_json(registry: SchemaRegistry) -> None:
    registry.schemas[5] = {"schema": json.dumps(ORDER)}
    assert read(registry, "avro", framed(5, avro(ORDER, VALUE))).data == PLAIN


def test_a_schema_that_refers_to_another_is_read_with_it(registry: SchemaRegistry) -> None:
    part = {"type": "record", "name": "Part", "namespace": "a", "fields": [{"name": "sku", "type": "string"}]}
    whole = {"type": "record", "name": "Whole", "namespace": "a", "fields": [{"name": "part", "type": "a.Part"}]}
    registry.versions["part/3"] = {"subject": "part", "version": 3, "id": 8, "schema": json.dumps(part)}
    references = [{"name": "a.Part", "subject": "part", "version": 3}]
    registry.schemas[9] = {"schema": json.dumps(whole), "references": references}
    inline = {**whole, "fields": [{"name": "part", "type": part}]}
    value = {"part": {"sku": "x"}}
    assert read(registry, "avro", framed(9, avro(inline, value))).data == value


def test_debeziums_envelope_in_avro_is_a_row_whose_key_is_read_as_well(registry: SchemaRegistry) -> None:
    row = {"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"}]}
    source = {"type": "record", "name": "Source", "fields": [{"name": "table", "type": "string"}]}
    envelope = {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {"name": "source", "type": source},
            {"name": "op", "type": "string"},
        ],
    }
    key = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}
    registry.schemas |= {1: {"schema": json.dumps(envelope)}, 2: {"schema": json.dumps(key)}}
    value = framed(1, avro(envelope, {"before": None, "after": {"id": 7}, "source": {"table": "orders"}, "op": "c"}))
    found = read(registry, "debezium", value, framed(2, avro(key, {"id": 7})), encoding="avro", event_type=None)
    assert (found.key, found.change and found.change.after) == ("shop/orders/7", {"id": 7})


def test_protobuf_is_its_own_json_mapping_of_the_message_that_the_value_names(registry: SchemaRegistry) -> None:
    registry.schemas[5] = {"schemaType": "PROTOBUF", "schema": message_schema()}
    assert read(registry, "protobuf", framed(5, b"\x00\x08\x07")).data == {"order_id": "7"}
    assert read(registry, "protobuf", framed(5, b"\x04\x00\x00\x0a\x01x")).data == {"sku": "x"}
    assert refused(registry, "protobuf", framed(5, b"\x02\x02")) == "bad_protobuf"


def test_json_must_fit_its_schema(registry: SchemaRegistry) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    registry.schemas[5] = {"schemaType": "JSON", "schema": json.dumps(schema)}
    assert read(registry, "json_schema", framed(5, b'{"id": 7}')).data == {"id": 7}
    assert refused(registry, "json_schema", framed(5, b'{"id": "secret"}')) == "bad_shape"


def test_nothing_is_fetched_for_a_reference_that_the_registry_does_not_have(registry: SchemaRegistry) -> None:
    registry.schemas[5] = {"schemaType": "JSON", "schema": json.dumps({"$ref": f"{registry.url}/elsewhere"})}
    assert refused(registry, "json_schema", framed(5, b"{}")) == "bad_json_schema"
    assert registry.asked == ["/schemas/ids/5"]


def test_a_schema_is_asked_for_once(registry: SchemaRegistry) -> None:
    registry.schemas[5] = {"schema": json.dumps(ORDER)}
    file = SourcesFile.model_validate(
        {
            "registry": {"url": registry.url},
            "sources": [{"topic": "t", "format": "avro", "app": "a", "event_type": "x"}],
        }
    )
    decode = decoder_of(file)
    assert [decode("avro", framed(5, avro(ORDER, VALUE))) for _ in range(3)] == [PLAIN] * 3
    assert registry.asked == ["/schemas/ids/5"]


@pytest.mark.parametrize(
    ("format", "value", "type"),
    [
        ("avro", framed(6, b""), "unknown_schema"),
        ("avro", b"{}", "bad_frame"),
        ("avro", b"", "bad_frame"),
        ("avro", framed(5, b""), "bad_avro"),
        ("avro", framed(5, avro(ORDER, VALUE) + b"\0"), "bad_avro"),
        ("protobuf", framed(5, b"\0"), "other_schema"),
        ("avro", framed(7, b"\0"), "bad_schema"),
    ],
)
def test_what_the_registrys_schema_does_not_fit_is_refused_by_name(
    registry: SchemaRegistry, format: str, value: bytes, type: str
) -> None:
    registry.schemas |= {5: {"schema": json.dumps(ORDER)}, 7: {"schema": '{"type": "nonsense"}'}}
    assert refused(registry, format, value) == type


def test_a_registry_that_is_away_or_is_none_is_an_outage_and_tells_no_credentials(registry: SchemaRegistry) -> None:
    registry.is_away = True
    with pytest.raises(Unavailable, match="503"):
        read(registry, "avro", framed(5, b"x"))
    registry.is_away = False
    registry.url += "/wrong/path"
    with pytest.raises(Unavailable, match="404"):
        read(registry, "avro", framed(5, b"x"))
    entry = {"topic": "t", "format": "avro", "app": "a", "event_type": "x"}
    connection = {"url": "http://127.0.0.1:1", "username": "ann", "password": "hunter2"}
    file = SourcesFile.model_validate({"registry": connection, "sources": [entry]})
    with pytest.raises(Unavailable) as caught:
        decoder_of(file)("avro", framed(5, b"x"))
    assert "hunter2" not in str(caught.value)


AVRO = avro_reader(json.dumps(ORDER), {})
PROTOBUF = protobuf_reader(message_schema(), {})
JSON_SCHEMA = json_schema_reader('{"type": "object"}', {})


@given(st.sampled_from(sorted(READERS)), st.binary())
def test_any_bytes_are_a_value_or_an_error_with_a_name(encoding: Any, value: bytes) -> None:
    entry = {"topic": "t", "format": encoding, "app": "a", "event_type": "x"}
    file = SourcesFile.model_validate({"registry": {"url": "http://127.0.0.1:1"}, "sources": [entry]})
    decode = decoder_of(file)
    readers = {"avro": AVRO, "protobuf": PROTOBUF, "json_schema": JSON_SCHEMA}
    decode.__self__._readers[encoding, 5] = readers[encoding]  # pyright: ignore[reportFunctionMemberAccess]
    with suppress(ContractError):
        decode(encoding, framed(5, value))
