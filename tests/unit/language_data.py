"""Any data that a template may meet, for the properties of the language.

`HEADRACE_TEST_EXAMPLES=10000` makes the long run.
"""

import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HEADRACE_TEST_EXAMPLES", "300"))
NOW = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)

# Templates are large to make, and most of the filter objects are thrown away.
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)

TEXTS = st.sampled_from(
    [
        "", " ", "a", "abc", "step 1", "5", "-5.5", "1e5", "1e999", "٣", "9" * 70, "2013-01-01",
        "2013-01-01T10:00:00Z", "20130101", "9999-12-31T23:59:59+14:00", "2013-W01-1", "true", "{", "[1, 2]",
        "false",
        '{"a": {"a": 1}}', "é" * 9, "\0", "\ud800", "a\nb", "<b>&", "%s", "%Y", "%", "(a+)+$", "a|b", "\\1",
        "\\", "__class__", "a.a.a", "a" * 3000,
    ]
)  # fmt: skip
NUMBERS = (
    st.sampled_from([
        0, 1, -1, 2, 5, 10**9, 2**53+1, 2**63, -(2**64), 10**400, -(10**4299), 0.0, -0.0, 1.5, 1e308, 5e-324,
    ])
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.sampled_from([Decimal("sNaN"), Decimal("1E+999999"), Decimal("-Infinity"), Decimal("2.50")])
)  # fmt: skip
TIMES = st.sampled_from(
    [NOW, NOW.replace(tzinfo=None), date(2013, 1, 1), datetime(1, 1, 1),  # noqa: DTZ001
 datetime(9999, 12, 31, 23, 59),  # noqa: DTZ001
 datetime.max.replace(tzinfo=UTC),
     datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | st.text(max_size=6) | TIMES
NAMES = st.sampled_from(["a", "b", "c", "0", "_id", "items", "__class__", "é"])
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=2).map(MappingProxyType)
    ),
    max_leaves=8,
)
