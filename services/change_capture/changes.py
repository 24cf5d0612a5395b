"""MongoDB's changes as the runtime's source: opened at a place, read, or given up with what an operator can do."""

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import TypeVar

from prometheus_client import Gauge

from headrace.contracts.errors import ContractError
from headrace.contracts.positions import ChangePosition, Position, Stamp, beginning_at, read_position, write_position
from headrace.service import Loop
from headrace.storage import NO_IMAGES, ChangesRefused, PositionLost, RowSnapshot, Storage
from headrace.streams import StreamFailed
from headrace.streams.source import Reading
from services.change_capture.records import ChangeRecords

LAG = Gauge("headrace_capture_lag_seconds", "Seconds between the last change read and MongoDB's own last one")
POSITION_TIME = Gauge(
    "headrace_capture_position_timestamp_seconds",
    "When MongoDB was where the committed place is; its age is the token's",
)

OWNER = Gauge("headrace_capture_owner", "Whether this process reads the changes; another's stands by")

_T = TypeVar("_T")


class MongoChanges:
    """The runtime's source (streams.source.Source)."""

    def __init__(self, loop: Loop, storage: Storage, records: ChangeRecords) -> None:
        self._loop = loop
        self._storage = storage
        self._stream = storage.changes
        self._records = records
        self._snapshot: RowSnapshot | None = None
        self._failure: StreamFailed | None = None

    def open(self, position: str | None, *, is_known: bool) -> str:
        """Goes on behind `position`; where none was ever committed, with what is written from now on."""
        self._failure = None
        place = self._begun() if position is None and not is_known else self._known(position)
        if isinstance(place, ChangePosition):
            self._snapshot = None
            self._reaching(self._stream.open(place), place)
        else:
            self._reaching(self._stream.prepare(), place)
            self._snapshot = self._storage.row_snapshot(place)
        OWNER.set(1)
        return write_position(place)

    def read(self, wait_s: float) -> Reading:
        """The next changes, or rows of a snapshot under way."""
        if self._failure is not None:
            raise self._failure
        return self._read_changes(wait_s) if self._snapshot is None else self._read_rows(self._snapshot)

    def committed(self, position: str) -> None:
        """For the metrics."""
        POSITION_TIME.set(read_position(position).time.seconds)

    def close(self) -> None:
        """Ends the stream."""
        OWNER.set(0)
        self._loop.run(self._stream.close())

    def _read_changes(self, wait_s: float) -> Reading:
        place = self._stream.position
        batch = self._reaching(self._stream.read(wait_s), place)
        LAG.set(0 if batch.is_last else max(0, batch.now.seconds - batch.position.time.seconds))
        for number, change in enumerate(batch.changes):
            if change.unfit is not None and change.unfit.type == NO_IMAGES:
                # What stands before it is committed first.
                self._failure = _unknown(change.app, change.table, change.row_id, change.stamp)
                good = batch.changes[:number]
                items = [self._records(each) for each in good]
                return Reading(items, write_position(good[-1].position if good else place))
        return Reading([self._records(each) for each in batch.changes], write_position(batch.position))

    def _read_rows(self, snapshot: RowSnapshot) -> Reading:
        rows = self._reaching(snapshot.read(), snapshot.position)
        if rows:
            return Reading([self._records(each) for each in rows], write_position(snapshot.position))
        self._snapshot = None
        self._reaching(self._stream.open(snapshot.behind), snapshot.behind)
        return Reading((), write_position(snapshot.behind))

    def _begun(self) -> ChangePosition:
        # Images first: every change from that moment on has them.
        self._reaching(self._stream.prepare(), None)
        return beginning_at(self._reaching(self._stream.now(), None))

    def _known(self, position: str | None) -> Position:
        try:
            return read_position(position or "")
        except ContractError:
            why = "its committed place is gone" if position is None else "what is committed is no place of its own"
            raise self._lost(why, None) from None

    def _reaching(self, work: Coroutine[object, object, _T], place: Position | None) -> _T:
        """What `work` answers; raises Unavailable, and StreamFailed with what can be done."""
        try:
            return self._loop.run(work)
        except PositionLost as error:
            raise self._lost(str(error), place) from None
        except ChangesRefused as error:
            raise StreamFailed(str(error)) from None

    def _lost(self, why: str, place: Position | None) -> StreamFailed:
        oldest = self._loop.run(self._stream.oldest())
        since = "an unknown time" if place is None else _text(place.time.time)
        until = "MongoDB's oldest change (it does not say which)" if oldest is None else _text(oldest)
        resume = "TIME" if oldest is None else _text(oldest + timedelta(seconds=1))
        return _failed(f"changes of rows between {since} and {until} are missing: {why}", resume)


def _unknown(app: str, table: str, row_id: str, stamp: Stamp) -> StreamFailed:
    return _failed(
        f"row {app}/{table}/{row_id[:200]} was changed at {_text(stamp.time)} ({stamp}), and nobody can say from what "
        "to what: its collection recorded no images (changeStreamPreAndPostImages), or MongoDB has removed them",
        str(Stamp(stamp.seconds, stamp.increment + 1)),
    )


def _failed(what: str, resume: str) -> StreamFailed:
    return StreamFailed(
        f"{what}. It does not jump by itself. Choose: `headrace capture resume-at {resume}` goes on with the changes "
        "from then on; `headrace capture snapshot` publishes every row as it is now (op r) and goes on from now"
    )


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
