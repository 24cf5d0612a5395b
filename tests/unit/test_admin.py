"""Questions to a Kafka that does not answer."""

import pytest

from headrace.streams import StreamFailed, admin

pytestmark = pytest.mark.unit

NOBODY = {"bootstrap.servers": "127.0.0.1:9", "log_level": "0"}
"""Nobody listens there."""


def test_a_group_that_nobody_describes_in_time_is_an_outage_and_not_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.2)
    with pytest.raises(StreamFailed, match=r"no answer within 0\.2 s"):
        admin.member_client_ids(NOBODY, "g")
