"""The transaction cycle: outcomes, offsets and group metadata become one Kafka transaction, whatever goes wrong.

A transaction ends in one of four ways. Committed: done. Aborted because of a record: halves, until the offender is
alone and becomes a dead letter. Aborted otherwise (stale group metadata, a fence): what is still held is committed
again with fresh metadata. Unknown: the producer is thrown away, a new one ends what it left open, and the committed
offsets' metadata say whether it happened. (A second EndTxn of the same producer could hit a later transaction: the
client has no KIP-890 yet.)
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from headrace.streams import metrics
from headrace.streams.bounded import Bounded
from headrace.streams.commit_metadata import CommitPoint, Tokens, encode, token_of
from headrace.streams.errors import StreamFailed
from headrace.streams.intake import Intake
from headrace.streams.records import Outcome, Outgoing, Partition, Record, Summarise, no_summary

COMMIT_TIMEOUT_S = 5.0
"""A commit that takes longer than TRANSACTION_TIMEOUT_MS and a round trip can only be unknown."""

PATIENCE_S = COMMIT_TIMEOUT_S + 1.0
"""After this a call has forgotten its time-out."""

INIT_TIMEOUT_S = 10.0
"""One try to initialise; tries follow each other until the coordinator is back."""

BACKOFF_S = (0.02, 0.1, 0.5, 1.0)
"""Waits between tries: a rebalance settles in tens of milliseconds, an absent broker is asked once a second."""

TRIES_WHOLE = 3
"""A rebalance or a fence is over after one or two; what fails more often is tried in halves."""

TRANSACTION_BYTES = 32 << 20
"""What outcomes of one transaction weigh together, about: it is through in a fraction of TRANSACTION_TIMEOUT_MS."""

OUTCOME_BYTES = 64 << 20
"""What one record may lead to. All of it is one transaction, and one that outlasts its time-out would be tried for
ever: eight jobs of the largest record."""

DeadLetter = Callable[[Record, str, str], Outgoing]
"""(record, type, message) to the dead letter that points at it."""


Epoch = int
"""Numbers the assignments of partitions to this process: one given away and back has another."""


class Progress(Protocol):
    """Knows how far each partition is. Called under the lock that a revocation waits for."""

    def points(self, outcomes: Sequence[Outcome]) -> Mapping[Partition, tuple[Epoch, CommitPoint]]:
        """What is to be committed together with `outcomes`: at least one point for each of their partitions."""
        ...

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The points that were given for `outcomes` are committed."""
        ...


class _End(Enum):
    COMMITTED = auto()
    RECORD = auto()
    ABORTED = auto()
    UNKNOWN = auto()


class TransactionCycle:
    """Commits outcomes of one consumer's records with one transactional producer."""

    def __init__(
        self,
        open_producer: Callable[[], Producer],
        intake: Intake,
        dead_letter: DeadLetter,
        stop: threading.Event,
        summarise: Summarise = no_summary,
    ) -> None:
        self._open_producer = open_producer
        self._intake = intake
        self._dead_letter = dead_letter
        self._stop = stop
        self._summarise = summarise
        self._producer: Producer | None = None
        self._bounded = Bounded()
        self.reached: set[Partition] = set()
        """Partitions for which an offset was committed."""
        self.asked_at = 0.0
        """When Kafka was last asked in vain, by the monotonic clock: who waits for it is not stalled, however long it
        is away. To be started again would help nothing, and cost the time that this takes once it is back."""
        self._tokens = Tokens()
        self._token = ""
        self._record_error: KafkaError | None = None
        self._log = structlog.get_logger()

    def commit(self, outcomes: Sequence[Outcome], progress: Progress) -> bool:
        """Decides the fate of every outcome: committed, or dropped because its partition was lost.

        `outcomes` are in the order in which they came about. Returns False if it was asked to stop before all was
        decided; the rest is then read again by the next owner. Raises StreamFailed when nothing can ever be committed.
        """
        parts = _parts([self._within_limits(outcome) for outcome in outcomes])
        tries = 0
        while parts:
            end = self._attempt(parts[-1], progress)
            metrics.TRANSACTIONS.labels(end.name.lower()).inc()
            if end is _End.COMMITTED:
                parts.pop()
                tries = 0
            elif end is _End.RECORD:
                parts.extend(self._divide(parts.pop()))
            else:
                if self._stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]) and tries >= len(BACKOFF_S):
                    return False
                tries += 1
                if tries >= TRIES_WHOLE and len(parts[-1]) > 1:
                    # It may be too much for the time it has, on a broker this slow.
                    parts.extend(_halves(parts.pop()))
        return True

    def close(self) -> None:
        """Ends an open transaction, if there is one."""
        self._discard()
        self._bounded.close()

    def prepare(self) -> None:
        """Opens the producer: ends a transaction that an earlier process with this id left open. Waits for Kafka."""
        self._ready_producer()

    def _attempt(self, outcomes: Sequence[Outcome], progress: Progress) -> _End:
        producer = self._ready_producer()
        if producer is None:
            return _End.ABORTED
        with self._intake.commit_lock:
            held = [outcome for outcome in outcomes if self._intake.holds(outcome.record[:2], outcome.epoch)]
            points = {
                partition: point
                for partition, (epoch, point) in progress.points(held).items()
                if self._intake.holds(partition, epoch)
            }
            # Without its offset an outcome would be made again by the next owner.
            held = [outcome for outcome in held if outcome.record[:2] in points]
            end, produced, began = _End.COMMITTED, 0, time.perf_counter()
            if points:
                end, produced = self._transact(producer, held, points)
            if end is _End.COMMITTED:
                self._count(outcomes, held, produced, began)
                progress.committed(held)
                return end
        # Not under the lock: the polling thread, which answers, may be waiting for it in a revocation.
        if end is _End.UNKNOWN and self._happened(points):
            self._count(outcomes, held, produced, began)
            progress.committed(held)
            return _End.COMMITTED
        return end

    def _count(self, outcomes: Sequence[Outcome], held: Sequence[Outcome], produced: int, began: float) -> None:
        self.reached.update(outcome.record[:2] for outcome in held)
        if held:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
        metrics.RECORDS_COMMITTED.inc(len(held))
        metrics.RECORDS_PRODUCED.inc(produced)
        metrics.DROPPED.inc(len(outcomes) - len(held))

    def _transact(
        self, producer: Producer, held: Sequence[Outcome], points: Mapping[Partition, CommitPoint]
    ) -> tuple[_End, int]:
        self._record_error = None
        self._token = self._tokens.next()
        produced = 0
        committing = False
        try:
            producer.begin_transaction()
            for outcome in held:
                for output in (*outcome.outputs, *outcome.own):
                    self._produce(producer, output)
                    produced += 1
            for output in self._summarise(held):
                self._produce(producer, output)
                produced += 1
            offsets = [
                TopicPartition(*partition, point.offset, encode(point, self._token))
                for partition, point in points.items()
            ]
            metadata = self._intake.group_metadata
            self._bounded(lambda: producer.send_offsets_to_transaction(offsets, metadata, COMMIT_TIMEOUT_S), PATIENCE_S)
            committing = True
            self._bounded(lambda: producer.commit_transaction(COMMIT_TIMEOUT_S), PATIENCE_S)
        except KafkaException as raised:
            return self._classify(producer, raised.args[0], committing), produced
        except TimeoutError:
            return self._give_up(committing), produced
        return _End.COMMITTED, produced

    def _produce(self, producer: Producer, output: Outgoing) -> None:
        while True:
            try:
                producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    _BY_KEY if output.partition is None else output.partition,
                    headers=list(output.headers),
                    on_delivery=self._delivered,
                )
            except BufferError:
                producer.poll(0.05)  # the queue is full: serve it until there is room
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() in _RECORD_CODES:
            self._record_error = error

    def _classify(self, producer: Producer, error: KafkaError, committing: bool) -> _End:
        by_record = self._record_error is not None or error.code() in _RECORD_CODES
        self._log.warning("transaction failed", error=str(error), committing=committing, by_record=by_record)
        if self._record_error is None and by_record:
            self._record_error = error
        if error.txn_requires_abort() or (by_record and not error.fatal() and not committing):
            try:
                self._bounded(lambda: producer.abort_transaction(COMMIT_TIMEOUT_S), PATIENCE_S)
            except KafkaException as raised:
                self._log.warning("abort failed", error=str(raised.args[0]))
                self._discard()
            except TimeoutError:
                self._give_up(committing)
            return _End.RECORD if by_record else _End.ABORTED
        self._discard()
        metrics.FENCED.inc()
        return _End.UNKNOWN if committing else _End.ABORTED

    def _give_up(self, committing: bool) -> _End:
        """The client does not come back from a call. A new producer fences this one, whatever it still does."""
        self._log.error(
            "the client did not return within its time-out; its producer is given up", committing=committing
        )
        self._producer = None
        metrics.FENCED.inc()
        return _End.UNKNOWN if committing else _End.ABORTED

    def _happened(self, points: Mapping[Partition, CommitPoint]) -> bool:
        """Whether the transaction under `_token` was committed, asked after a new producer has ended it either way."""
        while not self._stop.is_set() or self._producer is not None:
            if self._ready_producer() is None:
                continue
            try:
                found = self._intake.committed(list(points))
            except (KafkaException, TimeoutError) as error:
                self._log.warning("committed offsets unknown", error=str(error))
                self.asked_at = time.monotonic()
                if self._stop.wait(BACKOFF_S[-1]):
                    return False
                continue
            return any(token_of(offset.metadata) == self._token for offset in found)
        return False

    def _divide(self, outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
        """Halves, the first on top of the stack; a lone offender's outputs are replaced by a dead letter."""
        if len(outcomes) > 1:
            return _halves(outcomes)
        if not outcomes:
            raise StreamFailed(f"Kafka refuses the group's offsets: {self._record_error}")
        offender = outcomes[0]
        error = self._record_error
        kind, told = (error.name(), error.str()) if error is not None else ("UNKNOWN", "refused by the broker")
        if len(offender.outputs) == 1 and offender.outputs[0].topic == self._dead_letter(offender.record, "", "").topic:
            raise StreamFailed(
                f"Kafka refuses even the dead letter of {'/'.join(map(str, offender.record[:3]))}: {told}"
            )
        metrics.DEAD_LETTERS.labels(kind.lower()).inc()
        letter = self._dead_letter(offender.record, kind.lower(), f"its outcome: {told}")
        return [[offender._replace(outputs=[letter], tally=None)]]

    def _within_limits(self, outcome: Outcome) -> Outcome:
        size = _weight(outcome)
        if size <= OUTCOME_BYTES:
            return outcome
        metrics.DEAD_LETTERS.labels("over_limit").inc()
        told = f"its outcome has {size} bytes in {len(outcome.outputs)} records; {OUTCOME_BYTES} are accepted"
        return outcome._replace(outputs=[self._dead_letter(outcome.record, "over_limit", told)], tally=None)

    def _ready_producer(self) -> Producer | None:
        """The initialised producer; None if it was asked to stop before Kafka answered."""
        opened: Producer | None = None
        while self._producer is None:
            # What Kafka does not answer goes on in the client: the same producer is asked again, however long that
            # takes. One of each try would be as many that fence each other once Kafka is back.
            opened = opened or self._open_producer()
            try:
                self._bounded(partial(opened.init_transactions, INIT_TIMEOUT_S), INIT_TIMEOUT_S + PATIENCE_S)
            except TimeoutError:
                self._log.error("the client did not return from init_transactions")
                opened = None
            except KafkaException as raised:
                error: KafkaError = raised.args[0]
                if error.code() in _UNFIXABLE:
                    raise StreamFailed(f"Kafka refuses this service's transactions: {error}") from None
                self._log.warning("transactions not ready", error=str(error))
                if error.retriable():
                    self.asked_at = time.monotonic()
                else:
                    opened = None
                if self._stop.wait(BACKOFF_S[-1]):
                    return None
            else:
                self._producer = opened
        return self._producer

    def _discard(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer = None


def _weight(outcome: Outcome) -> int:
    return sum(len(output.value or b"") for output in (*outcome.outputs, *outcome.own))


def _parts(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """Cuts of about TRANSACTION_BYTES, the first on top of the stack; one even without outcomes, for the positions."""
    parts: list[Sequence[Outcome]] = []
    start = weight = 0
    for at, outcome in enumerate(outcomes):
        added = _weight(outcome)
        if at > start and weight + added > TRANSACTION_BYTES:
            parts.append(outcomes[start:at])
            start, weight = at, 0
        weight += added
    parts.append(outcomes[start:])
    return parts[::-1]


def _halves(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    middle = len(outcomes) // 2
    return [outcomes[middle:], outcomes[:middle]]


_BY_KEY = -1
"""In place of a partition: librdkafka's RD_KAFKA_PARTITION_UA."""

_RECORD_CODES = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError._UNKNOWN_TOPIC,  # pyright: ignore[reportPrivateUsage]
        KafkaError._UNKNOWN_PARTITION,  # pyright: ignore[reportPrivateUsage]
        KafkaError._INVALID_ARG,  # pyright: ignore[reportPrivateUsage]
    )
)
"""Errors of one record: trying the same transaction again would fail for ever."""

_UNFIXABLE = frozenset((KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED))
