"""The streams runtime: polling, transactions, offsets, rebalances, shutdown. Knows Kafka, nothing of automations.

A service describes its stream with `StreamConfig` and gives `BatchProcessor` a handler; that is all it needs to know.
"""

from headrace.streams.batch import BatchProcessor, StreamConfig
from headrace.streams.errors import OffsetsLost, StreamFailed, Unavailable
from headrace.streams.records import Outgoing, Record

__all__ = ["BatchProcessor", "OffsetsLost", "Outgoing", "Record", "StreamConfig", "StreamFailed", "Unavailable"]
