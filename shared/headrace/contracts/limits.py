"""Sizes, in bytes, that the contracts promise. Their source is the design's section on topics."""

EVENT_BODY = 1 << 20
"""A body from outside (event, webhook) that is accepted at a door."""

RECORD = 8 << 20
"""The largest record that travels: a row change with both images. The broker's message.max.bytes is set to it."""

STORED_VALUE = 64 << 10
"""A value in a run record, or the bytes kept with a dead letter; larger ones are cut with a marker."""

RUN_RECORD = 1 << 20
"""A run record stays below this, so that lists of runs stay quick and MongoDB's 16 MB are never near."""

ATTRIBUTE = 1024
"""A CloudEvents attribute, or a record's key. They become parts of ids, index keys and logs, where unbounded text is an
attack; a key travels beside its value on every topic of an event's way, and the two share one message limit."""

MAX_ITERATIONS = 200
"""Items of a loop: the cap that users of its predecessor know, where AUTOMATION_MAX_ITERATIONS names no other."""

MOST_ITERATIONS = 100_000
"""What the setting may allow: a run begins no more steps than this."""
