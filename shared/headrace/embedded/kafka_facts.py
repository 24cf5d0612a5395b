# The client's stubs leave the results of its futures untyped, and its package re-exports without saying so.
# pyright: reportPrivateImportUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
"""What a Kafka cluster says of itself, asked through the client that the services use."""

import secrets
import time
from collections.abc import Mapping

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from headrace.embedded.api_versions import ProtocolMismatch, fetch_features
from headrace.embedded.checks import KafkaFacts

TIMEOUT_S = 10.0
"""For each question; a broker that is up answers in milliseconds."""

QUIET = "0"
"""librdkafka's log_level: it reports every refused attempt on stderr, and we report the outcome."""


def has_controller(admin: AdminClient, timeout_s: float) -> bool:
    """Whether the cluster names its controller; raises KafkaException."""
    cluster = admin.describe_cluster(request_timeout=timeout_s).result(timeout=timeout_s + 1)
    return cluster.controller is not None and int(cluster.controller.id) >= 0


def kafka_facts(kafka: Mapping[str, str], prefix: str) -> KafkaFacts:
    """Asks the cluster that librdkafka's properties `kafka` lead to; a problem is a fact, not an exception.

    Begins a transaction under a throw-away id that starts with `prefix`; the broker forgets it in a week.
    """
    admin = AdminClient({**kafka, "log_level": QUIET})
    try:
        brokers = admin.list_topics(timeout=TIMEOUT_S).brokers
    except KafkaException as error:
        return KafkaFacts(problem=error.args[0].str())
    if not brokers:
        return KafkaFacts(problem="it names no broker")
    node, broker = next(iter(brokers.items()))
    features, features_problem = _features(f"{broker.host}:{broker.port}", kafka)
    properties, properties_problem = _properties(admin, str(node))
    return KafkaFacts(
        brokers=len(brokers),
        features=features,
        features_problem=features_problem,
        properties=properties,
        properties_problem=properties_problem,
        transactions_problem=_transactions_problem(kafka, prefix),
    )


def _features(address: str, kafka: Mapping[str, str]) -> tuple[dict[str, int], str | None]:
    try:
        return fetch_features(address, kafka, TIMEOUT_S), None
    except (OSError, ProtocolMismatch) as error:
        return {}, f"{address} does not tell its features: {error}"


def _properties(admin: AdminClient, node: str) -> tuple[dict[str, str], str | None]:
    resource = ConfigResource(ResourceType.BROKER, node)
    try:
        found = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result(TIMEOUT_S)
    except KafkaException as error:
        return {}, f"the broker does not tell its configuration: {error.args[0].str()}"
    return {name: str(entry.value) for name, entry in found.items() if entry.value is not None}, None


def _transactions_problem(kafka: Mapping[str, str], prefix: str) -> str | None:
    identifier = f"{prefix}-doctor-{secrets.token_hex(4)}"
    producer = Producer({**kafka, "log_level": QUIET, "transactional.id": identifier})
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            # In slices: the call itself does not hear Ctrl-C.
            producer.init_transactions(1.0)
            producer.begin_transaction()
            producer.abort_transaction(TIMEOUT_S)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                return error.args[0].str()
        else:
            return None
