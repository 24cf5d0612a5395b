"""What every other integration test stands on."""

import pytest

from headrace.installation import topic_specs
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams.admin import check_topics

pytestmark = pytest.mark.integration


async def test_a_stack_answers_with_its_topics_and_its_database(topics: Settings, storage: Storage) -> None:
    check_topics(topics.kafka, topic_specs(topics))
    assert (await storage.ping()).year > 2000
