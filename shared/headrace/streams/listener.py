"""What the polling thread tells whoever works on its records."""

from collections.abc import Mapping
from typing import Protocol

from headrace.streams.commit_metadata import CommitPoint
from headrace.streams.records import Partition


class Listener(Protocol):
    """Is told by the polling thread, in that thread, what becomes of partitions."""

    def assigned(self, partition: Partition, epoch: int, committed: CommitPoint | None) -> None:
        """A partition came, and will be read from the committed point on; None: from its beginning."""
        ...

    def revoking(self, partitions: Mapping[Partition, int], wait_s: float) -> None:
        """These partitions, with their epochs, are about to be given away: the last moment to commit for them.

        Returns within `wait_s`; `lost` follows.
        """
        ...

    def lost(self, partitions: Mapping[Partition, int]) -> None:
        """These partitions, with their epochs, are no longer ours."""
        ...

    def available(self) -> None:
        """`take` has something to give, or to raise."""
        ...


class NoListener:
    """For who only takes."""

    def assigned(self, partition: Partition, epoch: int, committed: CommitPoint | None) -> None:
        """Nothing."""

    def revoking(self, partitions: Mapping[Partition, int], wait_s: float) -> None:
        """Nothing."""

    def lost(self, partitions: Mapping[Partition, int]) -> None:
        """Nothing."""

    def available(self) -> None:
        """Nothing."""
