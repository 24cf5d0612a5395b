"""How many runs of an automation may be under way, and how many may start in a time, for each value of a key."""

from typing import Annotated

from pydantic import Field, StringConstraints

from headrace.contracts.automation.values import Duration, Part

MOST_AT_A_TIME = 1_000
"""What one process has under way in all is a few thousand; a limit near that would limit nothing."""

MOST_IN_A_TIME = 10_000
"""The time of each start is remembered for `per`: some 300 KB for each key at this limit."""

KeySource = Annotated[str, StringConstraints(min_length=1)]


class Concurrency(Part):
    """At most `limit` runs whose `key` has the same value are under way at a time."""

    key: KeySource
    limit: Annotated[int, Field(ge=1, le=MOST_AT_A_TIME)]


class Rate(Part):
    """At most `limit` runs whose `key` has the same value start within any `per`, in seconds."""

    key: KeySource
    limit: Annotated[int, Field(ge=1, le=MOST_IN_A_TIME)]
    per: Duration
