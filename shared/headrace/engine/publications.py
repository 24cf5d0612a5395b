"""What a run gives to the world by Kafka."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publication:
    """A record to be produced in the transaction that ends the run."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
