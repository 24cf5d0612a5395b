"""Settings that are wrong, and the sentences that say so."""

import pytest

from headrace.settings import MOST_DAYS, SettingsError, load_settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["HEADRACE_RETENTION_DAYS", "HEADRACE_RUNS_RETENTION_DAYS"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e308", "24856", "0", "-1", "soon"])
def test_a_retention_that_nothing_can_keep_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load_settings()


def test_the_longest_retention_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RETENTION_DAYS", str(MOST_DAYS))
    assert load_settings().retention_days == MOST_DAYS
