"""Where a reader of changes is: what it would need to come back to the same place."""

from headrace.contracts.positions import ChangePosition, Stamp, digest, fits, token_time
from headrace.engine.rows import Author
from headrace.storage.row_authors import Authors

Transaction = tuple[bytes, int]
"""A session's id and the transaction's number in it."""


class PlaceMissed(Exception):
    """The change that the reader was to go on behind is not where it was; the message is for the operator."""


class ChangePlace:
    """Follows a stream opened at the `start` of a position; the events up to its change are passed by.

    A transaction's events follow each other. Its authors come first, so whoever begins in its middle would miss them:
    until the next change of another, the position names the change and begins before the transaction.
    """

    def __init__(self, position: ChangePosition) -> None:
        self.position = position
        self.authors = Authors()
        self._skips_to = position.through
        self._transaction: Transaction | None = None
        self._start = self._next_start = position.start
        self._token = ""

    def passes(self, token: str, stamp: Stamp, transaction: Transaction | None) -> bool:
        """Takes in the stream's next event; whether it is behind the place that was begun at. Raises PlaceMissed."""
        if transaction is None or transaction != self._transaction:
            self._transaction = transaction
            self._start = self._next_start
            self.authors.clear()
        self._token = token
        if fits(token):
            self._next_start = token
        if self._skips_to:
            if stamp > self.position.time:
                raise PlaceMissed(f"the change at {self.position.time}, behind which it was to go on, is not there")
            if digest(token) == self._skips_to:
                self._skips_to = ""
            return False
        is_whole = transaction is None and fits(token)
        self.position = ChangePosition(token, stamp) if is_whole else ChangePosition(self._start, stamp, digest(token))
        return True

    def author(self, table: str, row_id: object) -> Author | None:
        """Who made the change that was passed last; asked once for each change of a row."""
        return self.authors.of_next(table, row_id)

    def reaches(self, token: str) -> None:
        """The stream is at `token`, and all events up to it were passed. Raises PlaceMissed."""
        stamp = token_time(token)
        if token == self._token or stamp is None or not fits(token):
            return
        if self._skips_to:
            if stamp > self.position.time:
                raise PlaceMissed(f"the change at {self.position.time}, behind which it was to go on, is not there")
            return
        self._token = token
        self._transaction = None
        self.authors.clear()
        self._start = self._next_start = token
        self.position = ChangePosition(token, max(stamp, self.position.time))
