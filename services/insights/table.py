"""The table in Faust: rows in memory, every change of them on the changelog topic.

Faust's own table restores itself from its changelog, but in exactly-once mode it cannot be relied on: see
docs/insights.md. So this one's store reads its changelog itself, and tells Faust that there is nothing left to restore.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import faust
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from faust.stores import memory
from faust.types import TP, EventT

from headrace.streams import StreamFailed
from services.insights.rows import TOTAL, Counts, Window, parse_key

Place = tuple[int, bytes]
"""A row's partition and key."""

POLL_S = 0.5
"""One look for records; the end of the partition is told at once."""

REQUEST_S = 10.0
"""Of a request for an end; a broker that is up answers in milliseconds."""


class PartitionRows:
    """The rows of one partition, by key, and what is in them: automations and windows."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.automations: set[str] = set()
        self.windows: set[Window] = set()

    def put(self, key: bytes, value: bytes | None) -> None:
        """Puts a row in place, or takes it away."""
        if value is None:
            self.rows.pop(key, None)
            return
        if key not in self.rows:
            automation, kind = parse_key(key)
            self.automations.add(automation)
            if isinstance(kind, Window):
                self.windows.add(kind)
        self.rows[key] = value


class Store(memory.Store):
    """The rows of the partitions that this process has. Read by other threads too."""

    partitions: dict[int, PartitionRows]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.partitions = {}
        self._ends: dict[TP, int] = {}

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Forgets what is lost and reads what came, whole; tells the table's `moved` of both.

        By then Faust's transactional producers of these partitions are initialised: an earlier owner can write no more,
        and its open transaction is aborted. What is committed now is all there is.
        """
        table = cast(Table, self.table)
        topic = table.changelog_topic_name
        for each in (*revoked, *newly_assigned):
            if each.topic == topic:
                self.partitions.pop(each.partition, None)
                self._ends.pop(each, None)
                table.moved(each.partition)
        for each in newly_assigned:
            if each.topic == topic:
                options = self.options or {}
                rows, end = await asyncio.to_thread(read_changelog, options["kafka"], topic, each.partition)
                await asyncio.to_thread(refuse_another, options["kafka"], options["counted"], each.partition, rows)
                self.partitions[each.partition], self._ends[each] = rows, end

    def persisted_offset(self, tp: TP) -> int | None:
        """The last offset that is in the rows; Faust reads on from there, and there is nothing."""
        end = self._ends.get(tp)
        return None if end is None else end - 1

    def apply_changelog_batch(self, batch: Iterable[EventT], to_key: Any, to_value: Any) -> None:
        """What Faust still found on the changelog."""
        for event in batch:
            message = event.message
            rows = self.partitions.setdefault(message.partition, PartitionRows())
            rows.put(message.key or b"", message.value)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Lost partitions are forgotten already."""


def read_changelog(kafka: Mapping[str, str], topic: str, number: int) -> tuple[PartitionRows, int]:
    """The committed rows of a partition and the offset behind them; raises StreamFailed."""
    consumer = Consumer(
        {**kafka, "group.id": "reads-whole", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    found = PartitionRows()
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING)])
        while True:
            for message in consumer.consume(1_000, POLL_S):
                error = message.error()
                if error is None:
                    found.put(message.key() or b"", message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    return found, message.offset() or 0
                elif error.fatal():
                    raise StreamFailed(f"reading {topic} failed: {error}")
    finally:
        consumer.close()


def refuse_another(kafka: Mapping[str, str], topic: str, number: int, found: PartitionRows) -> None:
    """Raises StreamFailed if the rows count a topic that is gone: of one made anew under its name they would skip what
    comes until its offsets are beyond theirs."""
    totals = (value for key, value in found.rows.items() if parse_key(key)[1] == TOTAL)
    counted = max((Counts.decode(value).offset for value in totals), default=-1)
    consumer = Consumer({**kafka, "group.id": "reads-ends"})
    try:
        end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=REQUEST_S)[1]
    finally:
        consumer.close()
    if counted >= end:
        raise StreamFailed(
            f"{topic} has been made anew: its partition {number} ends at {end}, and up to {counted} was counted; "
            "delete the topic of insights' own rows too, then `headrace topics --make`"
        )


class Table(faust.Table[bytes, bytes]):
    """Rows of bytes, each in the partition that its counts come from.

    Of `options` `kafka` is the client's connection, `counted` the topic whose offsets the rows know. `moved` is called
    when a partition is lost or came: what was in hand of its rows counts for nothing.
    """

    moved: Callable[[int], None]

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, key_type=bytes, value_type=bytes, **options)
        self.moved = lambda _: None

    def _new_store(self) -> Store:
        return Store("memory://", self.app, self, table_name=self.name, options=self.options, loop=self.loop)

    @property
    def partitions_here(self) -> dict[int, PartitionRows]:
        """The rows that this process has, by partition."""
        return cast(Store, self.data).partitions

    async def write(self, changes: Mapping[Place, bytes | None]) -> None:
        """Puts rows in place, by partition and key, or takes them away; returns when the changelog has them, in the
        open transaction of their partition."""
        here = self.partitions_here
        ours = [(partition, key, value) for (partition, key), value in changes.items() if partition in here]
        # All of them before anything is awaited: whoever counts meanwhile goes on from these.
        for partition, key, value in ours:
            here[partition].put(key, value)
        topic = self.changelog_topic
        sent: list[Awaitable[object]] = [
            await topic.send(key=key, value=value, partition=partition, force=True) for partition, key, value in ours
        ]
        await asyncio.gather(*sent)
