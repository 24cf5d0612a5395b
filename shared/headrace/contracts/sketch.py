"""Durations, counted in buckets on a logarithmic scale: small, and merged by adding.

A bucket's number says all: (γ^(n-1), γ^n] milliseconds, γ = (1 + ERROR) / (1 - ERROR). Two sketches of whatever runs
are merged by adding up their counts, in any order and grouping, and every quantile of the whole keeps the error.
"""

from collections.abc import Mapping
from math import ceil, exp, log

ERROR = 0.02
"""Of a quantile against the duration that really has its rank. A sketch of runs between 1 ms and 10 s fills at
the most 231 buckets, some 2 kB; half the error would be twice as many, for a figure that people look at."""

FLOOR_MS = 0.01
"""Anything shorter counts as this: no run is, and it is no news."""

Sketch = Mapping[int, int]
"""Counts by bucket."""

_LOG_GAMMA = log((1 + ERROR) / (1 - ERROR))
_SCALE = 1 / _LOG_GAMMA


def bucket_of(duration_ms: float) -> int:
    """The bucket of a duration."""
    return ceil(log(duration_ms) * _SCALE) if duration_ms > FLOOR_MS else _LOWEST


_LOWEST = ceil(log(FLOOR_MS) * _SCALE)


def quantile(sketch: Sketch, share: float) -> float | None:
    """The duration in milliseconds that `share` of all do not exceed, within ERROR of it; None of an empty sketch."""
    left = ceil(share * sum(sketch.values()))
    for bucket in sorted(sketch):
        left -= sketch[bucket]
        if left <= 0:
            # In the middle of the bucket, seen as a ratio: as far from its lower end as from its upper.
            return exp(bucket * _LOG_GAMMA) * (1 - ERROR)
    return None
