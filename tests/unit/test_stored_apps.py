"""What keeps apps up to date does not end in silence."""

import threading
from typing import cast

import pytest

from headrace import stored_apps
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.stored_apps import Refreshing, StoredApps

pytestmark = pytest.mark.unit


class Waits:
    """A service that runs until it is stopped."""

    ready = True

    def __init__(self) -> None:
        self._over = threading.Event()

    def stalled_s(self) -> float:
        return 0.0

    def run(self) -> None:
        self._over.wait(60)

    def stop(self) -> None:
        self._over.set()


class Breaks:
    """Apps whose refreshing has a bug."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    async def refresh(self, storage: Storage) -> None:
        self.asked.set()
        raise KeyError("a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_that_refreshes_no_more_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoStorage:
        def __init__(self, settings: Settings) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(stored_apps, "Storage", NoStorage)
    inner, apps = Waits(), Breaks()
    service = Refreshing(inner, Settings(), cast(StoredApps, apps))
    running = threading.Thread(target=service.run)
    running.start()
    assert apps.asked.wait(60)
    ended = [each for each in threading.enumerate() if each.name == "app values"]
    for each in ended:
        each.join(60)
    assert service.stalled_s() == float("inf")
    service.stop()
    running.join(60)
