"""What apps have, of the operator's file and of what is stored, kept in memory: no run reads MongoDB for it."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from pydantic import SecretStr

from headrace.apps import read_apps
from headrace.engine.apps import NOT_CONFIGURED, AppConfig
from headrace.engine.errors import PlatformUnavailable
from headrace.keyring import Keyring, Unreadable, load_keyring
from headrace.service import Service
from headrace.settings import Settings, SettingsError
from headrace.storage import AppValue, Storage

LOOK_EVERY_S = 2.0
"""How often each process asks for revisions, which is one read of some bytes a value: a change is known within 5 s."""

UNREADABLE = Gauge("headrace_app_values_unreadable", "Stored values of apps that this process cannot open")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stored value in clear. `former` are its earlier ones, for the mask only."""

    value: AppValue
    text: SecretStr | None
    former: tuple[SecretStr, ...]


class StoredApps:
    """Answers an app's configuration. The operator's file goes before what is stored: what it names, nobody changes
    over HTTP. One thread refreshes; any may ask, and sees the whole of a change or none of it."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for a file or keys that are wrong."""
        self._file = {} if settings.apps_file is None else dict(read_apps(settings.apps_file))
        self.keyring: Keyring = load_keyring(settings)
        self._opened: dict[str, _Opened] = {}
        self._unreadable: dict[str, str] = {}
        self._configs: Mapping[str, AppConfig] = self._file

    def __call__(self, app: str) -> AppConfig:
        """What is configured for the app; the object never changes."""
        return self._configs.get(app, NOT_CONFIGURED)

    def of_file(self, app: str) -> AppConfig:
        """What the operator's file alone says."""
        return self._file.get(app, NOT_CONFIGURED)

    async def load(self, storage: Storage) -> None:
        """The first refresh: a value that cannot be opened is a SettingsError, before anything runs without it. Raises
        PlatformUnavailable."""
        await self.refresh(storage)
        if self._unreadable:
            raise SettingsError("; ".join(list(self._unreadable.values())[:3]))

    async def refresh(self, storage: Storage) -> None:
        """Takes up what was changed since; raises PlatformUnavailable.

        A value that cannot be opened is told in the log, and what was known of its name before stays.
        """
        revisions = await storage.app_values.revisions()
        known = {id: each.value.revision for id, each in self._opened.items()}
        # What could not be opened is tried again: only its next revision can mend it, but its telling must not end.
        changed = [id for id, revision in revisions.items() if known.get(id) != revision]
        gone = known.keys() - revisions.keys()
        if not changed and not gone:
            return
        for each in await storage.app_values.find(changed):
            self._take(each)
        for id in gone:
            del self._opened[id]
        for id in self._unreadable.keys() - revisions.keys():
            del self._unreadable[id]
        UNREADABLE.set(len(self._unreadable))
        self._configs = self._merged()

    def _take(self, value: AppValue) -> None:
        try:
            self._opened[value.id] = self._open(value)
            self._unreadable.pop(value.id, None)
        except Unreadable as error:
            if self._unreadable.get(value.id) != str(error):
                structlog.get_logger().error("a stored value cannot be opened", reason=str(error))
            self._unreadable[value.id] = str(error)

    def _open(self, value: AppValue) -> _Opened:
        former = tuple(SecretStr(self.keyring.open(value.place, each.sealed)) for each in value.former)
        text = None if value.sealed is None else SecretStr(self.keyring.open(value.place, value.sealed))
        return _Opened(value, text, former)

    def _merged(self) -> dict[str, AppConfig]:
        stored: dict[str, list[_Opened]] = {}
        for each in self._opened.values():
            stored.setdefault(each.value.place.app, []).append(each)
        return {**self._file, **{app: _merged(self.of_file(app), found) for app, found in stored.items()}}


def _merged(file: AppConfig, stored: list[_Opened]) -> AppConfig:
    texts = {each.value.place: each.text for each in stored if each.text is not None}
    env = {place.name: text.get_secret_value() for place, text in texts.items() if place.kind == "environment"}
    secrets = {place.name: text for place, text in texts.items() if place.kind == "secret"}
    return AppConfig(
        env={**env, **file.env},
        secrets={**secrets, **{name: SecretStr(text) for name, text in file.secrets.items()}},
        settings=file.settings,
        connections=file.connections,
        former_secrets=[text.get_secret_value() for each in stored for text in each.former],
    )


class Refreshing:
    """`inner`, with its apps kept up to date in a thread of its own while it runs."""

    def __init__(self, inner: Service, settings: Settings, apps: StoredApps) -> None:
        self._inner = inner
        self._settings = settings
        self._apps = apps
        self._over = threading.Event()
        self._has_failed = False
        self._thread = threading.Thread(target=self._refresh, name="app values", daemon=True)

    @property
    def ready(self) -> bool:
        """As the inner service says."""
        return self._inner.ready

    def stalled_s(self) -> float:
        """As the inner service says; endless once the refreshing has ended, which no waiting mends."""
        return float("inf") if self._has_failed else self._inner.stalled_s()

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed."""
        self._thread.start()
        try:
            self._inner.run()
        finally:
            self._over.set()
            self._thread.join()

    def stop(self) -> None:
        """Asks `run` to drain and return."""
        self._inner.stop()

    def _refresh(self) -> None:
        try:
            asyncio.run(self._keep_refreshing())
        except BaseException:
            # Else runs would go on with what was known then, for as long as the process lives.
            self._has_failed = True
            raise

    async def _keep_refreshing(self) -> None:
        # A connection of its own: the service's belongs to its loop, which may run only while a batch needs it.
        storage, is_away = Storage(self._settings), False
        try:
            while not self._over.is_set():
                try:
                    await self._apps.refresh(storage)
                    is_away = False
                except PlatformUnavailable as away:
                    # What is known stays in use; runs that need MongoDB wait for it by themselves.
                    if not is_away:
                        structlog.get_logger().warning("apps are not refreshed", reason=str(away))
                    is_away = True
                await asyncio.to_thread(self._over.wait, LOOK_EVERY_S)
        finally:
            storage.close()
