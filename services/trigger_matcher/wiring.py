"""Wires the runtime's batch shape to the matching of events."""

import time

import structlog

from headrace.following import Following
from headrace.installation import sources_config, stream_config
from headrace.matching import Index
from headrace.service import DeadLetterWriter, Loop, Service, StoredGroupMemory
from headrace.settings import Settings
from headrace.sources import Sources, load_sources
from headrace.storage import Storage
from headrace.streams import BatchProcessor
from headrace.streams.config import GroupMemory
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.definitions import Definitions
from services.trigger_matcher.events import RecordMatcher
from services.trigger_matcher.foreign import ForeignMatcher
from services.trigger_matcher.together import Together

NAME = "trigger_matcher"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Following:
    """The service, ready to run."""
    index = Index()
    dead_letter = DeadLetterWriter(NAME, settings)
    matcher = RecordMatcher(index, settings, dead_letter, AppRates(settings.app_rate, time.monotonic))
    processor = BatchProcessor(stream_config(settings, NAME, MAX_BATCH), matcher, dead_letter, memory)
    sources = load_sources(settings)
    inner: Service = processor
    if sources is not None:
        inner = Together(loop, [processor, _sources_stream(settings, loop, storage, index, sources)])
    return Following(NAME, settings, inner, Definitions(index).apply)


def _sources_stream(settings: Settings, loop: Loop, storage: Storage, index: Index, sources: Sources) -> Service:
    """The topics that others write; what their apps make counts for a rate of its own."""
    config = sources_config(settings, sources.topics, MAX_BATCH, sources.begins_at_end)
    dead_letter = DeadLetterWriter(NAME, settings, sources.app_of)
    matcher = ForeignMatcher(index, settings, sources, dead_letter, AppRates(settings.app_rate, time.monotonic))
    structlog.get_logger().info("sources", topics=sources.topics, group=config.group)
    return BatchProcessor(config, matcher, dead_letter, StoredGroupMemory(loop, storage, config.group))
