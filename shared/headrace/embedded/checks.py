"""From facts to what `headrace doctor` says: no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.embedded.broker import BROKER_PROPERTIES
from headrace.streams.config import TRANSACTION_TIMEOUT_MS

_PYTHON = (3, 11)

_DISK_GIB = 2.0
"""Kafka and MongoDB take 0.5 GiB at their first start; the rest is for the demo's records and logs."""

_MONGODB = (6, 0)
"""The first with pre-images, which row changes carry."""

_BOUND_S = 10.0
"""A killed worker's partitions stand still for so long; a retry of a synchronous caller waits no longer than this."""

_BROKER_FILE = "the settings of the embedded broker are in shared/headrace/embedded/broker.py"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `remedy` says what to do if it is not `ok`, else None."""

    name: str
    ok: bool
    detail: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """What a cluster says of itself. A word in `*_problem` says why the fact beside it is missing."""

    brokers: int = 0
    problem: str | None = None
    features: Mapping[str, int] = field(default_factory=dict[str, int])
    features_problem: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    properties_problem: str | None = None
    transactions_problem: str | None = None


@dataclass(frozen=True, slots=True)
class MongoDBFacts:
    """What a deployment says of itself."""

    version: str = ""
    replica_set: str | None = None
    writable: bool = False
    problem: str | None = None
    majority_problem: str | None = None


def passed(name: str, detail: str) -> Check:
    """A check that found what it should."""
    return Check(name, True, detail, None)


def failed(name: str, detail: str, remedy: str) -> Check:
    """A check that did not, and what to do."""
    return Check(name, False, detail, remedy)


def python_check(version: tuple[int, int, int]) -> Check:
    """Python's version."""
    found = ".".join(map(str, version))
    if version[:2] >= _PYTHON:
        return passed("Python", found)
    return failed("Python", found, f"make the environment with Python {_PYTHON[0]}.{_PYTHON[1]} or newer")


def disk_check(directory: str, free_bytes: int | None, problem: str | None) -> Check:
    """Room and permission in the state directory; `free_bytes` is None where nothing could be written."""
    name = "state directory"
    elsewhere = "or set HEADRACE_STATE_DIR to another directory"
    if free_bytes is None:
        return failed(name, f"{directory} cannot be written: {problem}", f"make it writable, {elsewhere}")
    free = free_bytes / 2**30
    detail = f"{directory}, {free:.1f} GiB free"
    if free < _DISK_GIB:
        return failed(name, detail, f"free {_DISK_GIB:.0f} GiB, {elsewhere}")
    return passed(name, detail)


def recovery_bound_s(properties: Mapping[str, str]) -> float:
    """How long a killed worker's partitions may yield nothing, in seconds, under these broker properties.

    Its group notices after the session time-out; its open transaction ends when it times out and the broker next looks;
    the heir learns of it with its next heartbeat. Raises KeyError or ValueError if a property is missing or no number.
    """
    session = int(properties["group.consumer.session.timeout.ms"])
    heartbeat = int(properties["group.consumer.heartbeat.interval.ms"])
    cleanup = int(properties["transaction.abort.timed.out.transaction.cleanup.interval.ms"])
    return (max(session, TRANSACTION_TIMEOUT_MS + cleanup) + heartbeat) / 1000


def kafka_checks(address: str, facts: KafkaFacts) -> list[Check]:
    """A cluster; only the first check if it does not answer."""
    if facts.problem is not None:
        return [
            failed("Kafka", f"{address}: {facts.problem}", "start it, or correct KAFKA_BOOTSTRAP_SERVERS and TLS/SASL")
        ]
    plural = "s" if facts.brokers != 1 else ""
    return [
        passed("Kafka", f"{address}: {facts.brokers} broker{plural}"),
        _groups(facts),
        _transactions(facts),
        _markers(facts),
        _recovery(facts),
        *_properties(facts),
    ]


def mongodb_checks(facts: MongoDBFacts) -> list[Check]:
    """A deployment; only the first check if it does not answer."""
    if facts.problem is not None:
        return [failed("MongoDB", facts.problem, "start it, or correct MONGODB_URI")]
    return [_mongodb_version(facts), _replica_set(facts), _majority(facts)]


def _groups(facts: KafkaFacts) -> Check:
    name, feature = "Kafka groups (KIP-848)", "group.version"
    if facts.features_problem is not None:
        return failed(name, facts.features_problem, "use Apache Kafka 4.0 or newer")
    level = facts.features.get(feature, 0)
    detail = f"{feature} {level}, metadata.version {facts.features.get('metadata.version', 'unknown')}"
    if level >= 1:
        return passed(name, detail)
    return failed(
        name,
        f"{detail}: Headrace does not run without the new group protocol",
        "use Apache Kafka 4.0 or newer, and after an upgrade `kafka-features.sh upgrade --release-version 4.0`",
    )


def _transactions(facts: KafkaFacts) -> Check:
    name = "Kafka transactions"
    if facts.transactions_problem is None:
        return passed(name, f"begun; transaction.version {facts.features.get('transaction.version', 'unknown')}")
    return failed(
        name,
        facts.transactions_problem,
        "let the user write to transactional ids that begin with the prefix; on one broker "
        "transaction.state.log.replication.factor and .min.isr must be 1",
    )


_FORGETFUL = range(30, 34)
"""metadata.version of 4.3-IV0 to 4.4-IV2."""


def _markers(facts: KafkaFacts) -> Check:
    name = "Kafka's transaction markers"
    level = facts.features.get("metadata.version")
    if level not in _FORGETFUL:
        return passed(name, "no version that is known to forget them")
    return failed(
        name,
        "Kafka 4.3.0 and 4.4.0 forget how transactions ended when a partition has no leader for a moment (KAFKA-20734)",
        "use Apache Kafka 4.0 to 4.2, or a later release that names KAFKA-20734 as mended",
    )


def _recovery(facts: KafkaFacts) -> Check:
    name = "Kafka recovery"
    try:
        bound = recovery_bound_s(facts.properties)
    except (KeyError, ValueError) as error:
        why = facts.properties_problem or f"the broker does not tell {error}"
        return failed(name, f"unknown: {why}", f"let the user describe the cluster's configuration; {_BROKER_FILE}")
    detail = f"a killed worker's partitions go on within {bound:.1f} s"
    if bound <= _BOUND_S:
        return passed(name, detail)
    wanted = [f"{key}={BROKER_PROPERTIES[key]}" for key in BROKER_PROPERTIES if key.endswith(_RECOVERY_KEYS)]
    return failed(name, detail, f"set on the brokers: {', '.join(wanted)}")


_RECOVERY_KEYS = ("session.timeout.ms", "heartbeat.interval.ms", "cleanup.interval.ms")


def _properties(facts: KafkaFacts) -> list[Check]:
    if facts.properties_problem is not None:
        return []  # said once, by the recovery check
    size, wanted = int(facts.properties.get("message.max.bytes", 0)), int(BROKER_PROPERTIES["message.max.bytes"])
    creates = facts.properties.get("auto.create.topics.enable", "unknown")
    return [
        passed("Kafka record size", f"message.max.bytes {size:,}")
        if size >= wanted
        else failed(
            "Kafka record size",
            f"message.max.bytes {size:,}: a row change with both images may not travel",
            f"set message.max.bytes={wanted} on the brokers",
        ),
        passed("Kafka topic creation", "no topic is created by accident")
        if creates == "false"
        else failed(
            "Kafka topic creation",
            f"auto.create.topics.enable {creates}: a mistyped name makes a topic",
            "set auto.create.topics.enable=false on the brokers",
        ),
    ]


def _mongodb_version(facts: MongoDBFacts) -> Check:
    numbers = tuple(int(part) for part in facts.version.split(".")[:2] if part.isdigit())
    if numbers >= _MONGODB:
        return passed("MongoDB", facts.version)
    return failed("MongoDB", facts.version, f"use MongoDB {_MONGODB[0]}.{_MONGODB[1]} or newer")


def _replica_set(facts: MongoDBFacts) -> Check:
    name = "MongoDB replica set"
    if facts.replica_set is None:
        return failed(
            name, "a standalone server has no transactions", "start mongod with --replSet and initiate the set"
        )
    if not facts.writable:
        return failed(
            name,
            f"{facts.replica_set}, and what answers takes no writes",
            "name the whole set in MONGODB_URI, not one member",
        )
    return passed(name, facts.replica_set)


def _majority(facts: MongoDBFacts) -> Check:
    name = "MongoDB majority writes"
    if facts.majority_problem is None:
        return passed(name, "a transaction was confirmed by a majority")
    return failed(
        name, facts.majority_problem, "let the user write to the databases of the prefix, and start missing members"
    )
