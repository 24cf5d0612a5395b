"""Values in the wire format of a schema registry: a zero byte, the schema's number, the encoded value.

Source: Confluent's documentation, "Formats, Serializers, and Deserializers", chapter "Wire format", and the registry's
REST API (`GET /schemas/ids/{id}`). Asked is confluent-kafka's own client, which keeps what it was told: a schema never
changes under its number. Its deserialisers are not used: they look up subjects for rules and the latest schema, and the
one for Protobuf wants a class generated beforehand.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from headrace.contracts.errors import ContractError
from headrace.sources.decoding import DecodeEncoded
from headrace.sources.model import Encoding, RegistryConnection, SourcesFile, encoding_of
from headrace.streams import Unavailable

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import RegisteredSchema, Schema

    from headrace.sources.encodings import Read

ASK_TIMEOUT_S = 5.0
"""Of one question. It is asked again each second while it is not answered, so no try is repeated within it."""

_FRAME = 5
"""Bytes before the value: zero, and the schema's number in four."""

_UNKNOWN = frozenset((40401, 40402, 40403))
"""The registry's own codes: no such subject, version, schema. Any other 404 is of something that is no registry."""

_T = TypeVar("_T")


class Schemas(Protocol):
    """What of the registry's client is used."""

    def get_schema(self, schema_id: int, subject_name: str | None = None, fmt: str | None = None) -> "Schema":
        """The schema of this number."""
        ...

    def get_version(
        self, subject_name: str, version: int, deleted: bool = False, fmt: str | None = None
    ) -> "RegisteredSchema":
        """The schema that another refers to."""
        ...


def decoder_of(file: SourcesFile) -> DecodeEncoded:
    """What decodes the values of a file's sources; raises ImportError where what that needs is not installed."""
    needed = {encoding_of(each) for each in file.sources} - {"json"}
    if file.registry is None or not needed:
        return _no_registry
    registry = Registry(file.registry)
    return registry.decode


def _no_registry(encoding: Encoding, value: bytes) -> object:
    raise ContractError("no_registry", f"values in {encoding} need a schema registry, and the sources file names none")


class Registry:
    """A schema registry and the readers of the schemas that were met."""

    def __init__(self, connection: RegistryConnection) -> None:
        # Each import brings a dozen packages, which nobody needs who has no registry.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        from headrace.sources import encodings

        told: dict[str, object] = {"url": connection.url, "timeout": ASK_TIMEOUT_S, "max.retries": 0}
        if connection.username is not None and connection.password is not None:
            told["basic.auth.user.info"] = f"{connection.username}:{connection.password.get_secret_value()}"
        if connection.ca_file is not None:
            told["ssl.ca.location"] = str(connection.ca_file)
        self._client: Schemas = SchemaRegistryClient(told)
        self._make = encodings.READERS
        self._readers: dict[tuple[Encoding, int], Read] = {}

    def decode(self, encoding: Encoding, value: bytes) -> object:
        """The value as plain JSON; raises ContractError, and Unavailable while the registry is away."""
        if len(value) < _FRAME or value[0] != 0:
            raise ContractError(
                "bad_frame", "the value does not begin as a schema registry's do: a zero byte and a schema's number"
            )
        id = int.from_bytes(value[1:_FRAME], "big")
        read = self._readers.get((encoding, id))
        if read is None:
            read = self._readers[encoding, id] = self._reader(encoding, id)
        try:
            return read(value[_FRAME:])
        except ContractError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a decoder stumbles over, it is the record's bytes
            raise ContractError(
                f"bad_{encoding}", f"the value does not fit schema {id} ({type(error).__name__})"
            ) from None

    def _reader(self, encoding: Encoding, id: int) -> "Read":
        wanted = "serialized" if encoding == "protobuf" else None
        schema = self._ask(f"schema {id}", lambda: self._client.get_schema(id, fmt=wanted))
        kind = (schema.schema_type or "AVRO").upper()
        if kind != _KINDS[encoding]:
            raise ContractError("other_schema", f"schema {id} is of the type {kind[:16]}; expected {_KINDS[encoding]}")
        referred = dict(self._referred(schema, wanted, set()))
        try:
            return self._make[encoding](schema.schema_str or "", referred)
        except Exception as error:  # noqa: BLE001 - a schema that this library does not take is one like bad bytes
            raise ContractError("bad_schema", f"schema {id} cannot be used ({type(error).__name__})") from None

    def _referred(self, schema: "Schema", wanted: str | None, met: set[str]) -> Iterator[tuple[str, str]]:
        """The schemas that it needs, by name, each before those that need it."""
        for each in schema.references or ():
            name, subject, version = each.name, each.subject, each.version
            if name is None or subject is None or version is None or name in met:
                continue
            met.add(name)
            found = self._ask(
                f"{subject[:256]} version {version}",
                lambda subject=subject, version=version: self._client.get_version(subject, version, True, wanted),
            )
            of = found.schema
            yield from self._referred(of, wanted, met)
            yield name, of.schema_str or ""

    def _ask(self, what: str, ask: Callable[[], _T]) -> _T:
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return ask()
        except SchemaRegistryError as error:
            if error.error_code in _UNKNOWN:
                raise ContractError("unknown_schema", f"the schema registry knows no {what}") from None
            raise Unavailable(f"the schema registry answers {error.http_status_code} to: {what}") from None
        except Exception as error:  # noqa: BLE001 - its client's errors are of a package chosen by the Python version
            raise Unavailable(f"the schema registry does not answer ({type(error).__name__})") from None


_KINDS: Mapping[Encoding, str] = {"avro": "AVRO", "protobuf": "PROTOBUF", "json_schema": "JSON"}
"""The registry's names of them."""
