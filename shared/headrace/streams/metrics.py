"""The runtime's metrics. One process runs one stream, so they carry no labels that would tell streams apart."""

from prometheus_client import Counter, Gauge, Histogram

# Batches and transactions take from under a millisecond to the transaction time-out of some seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

RECORDS_READ = Counter("headrace_records_read_total", "Records read, duplicates after a rebalance included")
RECORDS_PRODUCED = Counter("headrace_records_produced_total", "Records produced in committed transactions")
RECORDS_COMMITTED = Counter("headrace_records_committed_total", "Records whose outcome was committed")
TRANSACTIONS = Counter("headrace_transactions_total", "Transactions by how they ended", ["end"])
FENCED = Counter("headrace_fenced_total", "Producers that were fenced or failed and were replaced")
DROPPED = Counter("headrace_outcomes_dropped_total", "Outcomes of partitions that were lost before the commit")
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Records dead-lettered by the runtime", ["type"])
UNAVAILABLE = Counter("headrace_platform_unavailable_total", "Batches held because a platform part was away")
HANDLER_SECONDS = Histogram("headrace_batch_handler_seconds", "Seconds a batch took in the handler", buckets=_SECONDS)
COMMIT_SECONDS = Histogram("headrace_transaction_seconds", "Seconds from begin to committed", buckets=_SECONDS)
BATCH_RECORDS = Histogram("headrace_batch_records", "Records in a batch", buckets=(1, 4, 16, 64, 256, 1024, 4096))
ASSIGNED = Gauge("headrace_assigned_partitions", "Partitions assigned to this process")
BUFFERED = Gauge("headrace_buffered_records", "Records read and not yet handled")
LAG = Gauge("headrace_consumer_lag", "Records between position and end of the partition", ["topic", "partition"])
IN_FLIGHT = Gauge("headrace_in_flight_records", "Records read and not committed, those that wait in lanes included")
BLOCKED = Gauge("headrace_blocked_partitions", "Partitions paused: not due, span at its limit, or a lane overfull")
LANES_OVERFULL = Counter("headrace_lanes_overfull_total", "Records that met a lane with too many waiting")
HAND_OVERS = Counter("headrace_hand_overs_total", "Records asked to go on later: they held their partition back")
HEAD_OF_LINE = Gauge(
    "headrace_head_of_line_seconds", "How long the record that holds a partition back has run", ["topic"]
)
SUSPECTS = Counter("headrace_suspects_total", "Records that may have killed their worker", ["how"])
REBUILDING = Gauge("headrace_rebuilding_partitions", "Assigned partitions whose state is not rebuilt yet")
REBUILD_SECONDS = Gauge("headrace_rebuild_seconds", "How long the last partition took from its first record to its end")
