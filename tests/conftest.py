"""What tests share: one Kafka and one MongoDB for the session, and a prefix of its own for each test."""

import os
import secrets
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings as hypothesis_settings
from pymongo import MongoClient

from headrace.embedded import Stack, start_stack
from headrace.installation import topic_specs
from headrace.settings import Settings, load_settings
from headrace.storage import Storage
from headrace.streams.admin import make_topics

# Durations are measured in benches: on a busy machine an example may take any time.
hypothesis_settings.register_profile("headrace", deadline=None)
hypothesis_settings.load_profile("headrace")

PARTITIONS = 2
"""The least with which keys can go astray."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """A running stack: as configured, else embedded, else containers; HEADRACE_TEST_STACK=containers forces those."""
    directory: Path = tmp_path_factory.mktemp("stack")
    containers = os.environ.get("HEADRACE_TEST_STACK") == "containers"
    with start_stack(load_settings(state_dir=directory), containers=containers) as stack:
        yield stack


@pytest.fixture
def settings(stack: Stack) -> Generator[Settings]:
    """Settings with a prefix that nobody else uses; what was made under it is removed."""
    found = stack.settings.model_copy(
        update={
            "prefix": f"test-{secrets.token_hex(4)}",
            "partitions": PARTITIONS,
            "allow_private_hosts": True,
            "retry_tiers": "1s,2s",  # a test can wait for them
        }
    )
    yield found
    admin = AdminClient({**found.kafka})
    ours = [name for name in admin.list_topics(timeout=10).topics if name.startswith(found.prefix)]
    if ours:
        for deleted in admin.delete_topics(ours).values():
            deleted.result()
    with MongoClient(found.mongodb) as client:
        client.drop_database(found.prefix)
        client.drop_database(found.rows_database)


@pytest.fixture
def topics(settings: Settings) -> Settings:
    """The settings, once all of their topics exist."""
    make_topics(settings.kafka, topic_specs(settings))
    return settings


@pytest.fixture
async def storage(settings: Settings) -> AsyncGenerator[Storage]:
    """MongoDB, prepared as the services prepare it."""
    storage = Storage(settings)
    await storage.prepare()
    yield storage
    storage.close()
