# RE2's package has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Topics by pattern: whole names, in the dialect of the broker (RE2), which matches a subscription's pattern."""

from functools import lru_cache

import re2

_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LONGEST = 249
"""As Kafka accepts them: org.apache.kafka.common.internals.Topic."""


def check_topic(text: str) -> str:
    """A topic's name, or a pattern that begins with `^`; raises ValueError."""
    if text.startswith("^"):
        try:
            re2.compile(text)
        except re2.error:
            raise ValueError("no regular expression that RE2 understands") from None
    elif not set(text) <= _CHARACTERS or len(text) > _LONGEST:
        raise ValueError(
            f"expected a topic's name (at most {_LONGEST} of a-z, A-Z, 0-9, '.', '_', '-'), or a pattern that begins "
            "with ^"
        )
    return text


@lru_cache(maxsize=10_000)
def matches(pattern: str, topic: str) -> bool:
    """Whether the whole name matches the pattern; a name is none."""
    return pattern.startswith("^") and re2.fullmatch(pattern, topic) is not None
