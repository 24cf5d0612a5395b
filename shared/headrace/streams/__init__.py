"""The streams runtime: polling, transactions, offsets, rebalances, shutdown. Knows Kafka, nothing of automations.

A service describes its stream with `StreamConfig` and gives a handler to `BatchProcessor` (a polled batch in, computed
at once) or to `ConcurrentProcessor` (one record a call, ordered per key, thousands waiting); that is all it needs to
know.
"""

from headrace.streams.batch import BatchProcessor
from headrace.streams.concurrent import ConcurrentProcessor
from headrace.streams.config import GroupMemory, StreamConfig, SuspectMemory
from headrace.streams.errors import OffsetsLost, StreamFailed, Unavailable
from headrace.streams.records import Outcome, Outgoing, Record
from headrace.streams.turns import Turn

__all__ = [
    "BatchProcessor",
    "ConcurrentProcessor",
    "GroupMemory",
    "OffsetsLost",
    "Outcome",
    "Outgoing",
    "Record",
    "StreamConfig",
    "StreamFailed",
    "SuspectMemory",
    "Turn",
    "Unavailable",
]
