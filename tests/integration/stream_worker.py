"""A worker in a process of its own, for test_streams to kill: copies records, and says when it is at it."""

import sys
from collections.abc import Sequence

from headrace.streams import BatchProcessor, Outgoing, Record
from headrace.streams.config import StreamConfig
from headrace.streams.records import Partition


class Forgetful:
    """Knows nothing of the group's past: each test has a new one."""

    def known(self) -> frozenset[Partition]:
        return frozenset()

    def remember(self, partitions: frozenset[Partition]) -> None:
        pass


def main() -> None:
    servers, group, source, target, slot = sys.argv[1:]

    def copy(records: Sequence[Record]) -> list[list[Outgoing]]:
        sys.stdout.write(f"{len(records)}\n")
        sys.stdout.flush()
        return [[Outgoing(target, record.key, record.value)] for record in records]

    def letter(record: Record, type: str, message: str) -> Outgoing:
        return Outgoing(target, record.key, b"unexpected")

    config = StreamConfig({"bootstrap.servers": servers}, group, [source], f"{group}-{slot}", f"{group}-{slot}", 100)
    BatchProcessor(config, copy, letter, Forgetful()).run()


main()
