"""Headrace: automations on Kafka streams. What is imported from here is the SDK: publishing events and row changes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.publisher import AsyncPublisher, Published, Publisher, PublishError

__all__ = ["AsyncPublisher", "PublishError", "Published", "Publisher"]


def __getattr__(name: str) -> object:
    """Imported when asked for: the command line comes this way too, and must be able to end before it is loaded."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headrace import publisher

    return getattr(publisher, name)
