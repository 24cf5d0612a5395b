"""What a Kafka cluster can do, by its own ApiVersions answer: librdkafka asks for it and tells nobody.

The request is allowed before authentication. Format: Kafka's protocol guide, ApiVersions version 3 (flexible).
"""

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_API_VERSIONS = 18
_VERSION = 3
_FINALIZED_FEATURES = 2
"""The tag of the finalized features in the answer."""

_ANSWER_LIMIT = 1 << 20
"""An answer has a few kB; what claims to be larger is no Kafka."""


class ProtocolMismatch(ValueError):
    """What answered is not a Kafka broker, or one that is too old to tell its features."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ProtocolMismatch("the answer is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def int16(self) -> int:
        return int(struct.unpack(">h", self.take(2))[0])

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> str:
        return self.take(self.varint() - 1).decode(errors="replace")

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())


def request(client_id: str = "headrace-doctor") -> bytes:
    """The request with its length before it."""
    name = client_id.encode()
    header = struct.pack(">hhih", _API_VERSIONS, _VERSION, 1, len(name)) + name + b"\x00"
    body = _compact(b"headrace") + _compact(b"0") + b"\x00"
    return struct.pack(">i", len(header) + len(body)) + header + body


def finalized_features(answer: bytes) -> dict[str, int]:
    """Each finalized feature's level, from an answer without its length. Raises ProtocolMismatch."""
    reader = _Reader(answer)
    reader.take(4)  # the correlation id
    error = reader.int16()
    if error != 0:
        raise ProtocolMismatch(f"the broker refuses ApiVersions version {_VERSION} (error {error}): it is too old")
    for _ in range(reader.varint() - 1):
        reader.take(6)  # an API's key, lowest and highest version
        reader.skip_tags()
    reader.take(4)  # how long we are throttled
    features: dict[str, int] = {}
    for _ in range(reader.varint()):
        tag, value = reader.varint(), _Reader(reader.take(reader.varint()))
        if tag != _FINALIZED_FEATURES:
            continue
        for _ in range(value.varint() - 1):
            name, level = value.string(), value.int16()
            value.int16()  # the lowest level
            value.skip_tags()
            features[name] = level
    return features


def fetch_features(address: str, kafka: Mapping[str, str], timeout_s: float) -> dict[str, int]:
    """Asks the broker at `address` (host:port), with TLS as librdkafka's properties `kafka` say.

    Raises OSError if it cannot be reached, ProtocolMismatch if it is no Kafka of 2.7 or later.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout_s) as plain:
        if not kafka.get("security.protocol", "PLAINTEXT").endswith("SSL"):
            return finalized_features(_exchange(plain))
        with _tls(kafka).wrap_socket(plain, server_hostname=host) as encrypted:
            return finalized_features(_exchange(encrypted))


def _exchange(connection: socket.socket) -> bytes:
    connection.sendall(request())
    (length,) = struct.unpack(">i", _receive(connection, 4))
    if not 0 <= length <= _ANSWER_LIMIT:
        raise ProtocolMismatch("what answers is no Kafka broker")
    return _receive(connection, length)


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ProtocolMismatch("the connection was closed instead of an answer")
        data += part
    return data


def _tls(kafka: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"))
    certificate = kafka.get("ssl.certificate.location")
    if certificate is not None:
        context.load_cert_chain(certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password"))
    return context


def _compact(text: bytes) -> bytes:
    return bytes([len(text) + 1]) + text
