"""Headrace: automations on Kafka streams. What is imported from here is the SDK: publishing events and row changes."""

from headrace.publisher import AsyncPublisher, Published, Publisher, PublishError

__all__ = ["AsyncPublisher", "PublishError", "Published", "Publisher"]
