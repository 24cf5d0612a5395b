"""What the runtime raises, and what a handler may raise."""

from confluent_kafka import KafkaError


class Unavailable(Exception):
    """A handler raises it when a platform part (MongoDB) is away: the batch is kept and handled again later.

    An outage uses up no attempt and loses nothing; the consumer stays in its group and stops reading.
    """


class StreamFailed(Exception):
    """The stream cannot go on; the process should end with this message and be restarted or mended as it says."""


class OffsetsLost(StreamFailed):
    """A group that has run before has no usable offset: reading on would silently lose or repeat events."""

    def __init__(self, group: str, topic: str, partition: int, why: str) -> None:
        super().__init__(
            f"group {group} has no usable offset for {topic}/{partition} ({why}), although it has committed there "
            f"before. It does not choose by itself. Choose: `headrace groups reset {group} --to-earliest` reads all "
            f"that is retained again; `headrace groups reset {group} --to-latest` passes by what came meanwhile."
        )


HOPELESS = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.UNSUPPORTED_ASSIGNOR,
    )
)
"""Errors that no waiting mends: the operator must."""
