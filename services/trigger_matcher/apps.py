"""Which apps have more jobs than their rate: theirs go to the priority `low`, so that others need not wait for them."""

from collections.abc import Callable

import structlog
from prometheus_client import Counter

WINDOW_S = 1.0
"""What is counted together: a burst within it is over the rate at once, so that hardly any of it goes before others."""

CALM_WINDOWS = 5
"""So many windows in a row within its rate and an app is back: each change lets jobs of a key pass others."""

LOWERED = Counter("headrace_apps_lowered_total", "Times that an app's jobs went to the priority low, and back", ["to"])


class AppRates:
    """Counts what one process makes. All automations of an app change together, at one record."""

    def __init__(self, rate: int | None, now: Callable[[], float]) -> None:
        """`rate`: jobs a second, None for any number; `now`: seconds, ascending."""
        self._rate = rate
        self._now = now
        self._began = now()
        self._made: dict[str, int] = {}
        self._calm: dict[str, int] = {}
        """The apps over their rate, and for how many windows they have been within it since."""

    def is_over(self, app: str) -> bool:
        """Whether the app's next job, which is counted by this, is one of too many."""
        if self._rate is None:
            return False
        made = self._made[app] = self._made.get(app, 0) + 1
        if made > self._rate:
            if app not in self._calm:
                LOWERED.labels("low").inc()
                structlog.get_logger().warning("app over its rate", app=app, jobs_a_second=self._rate)
            self._calm[app] = 0
            return True
        return app in self._calm

    def pass_time(self) -> None:
        """Begins a new window if one is over; to be called now and then, as once a batch."""
        now = self._now()
        if now - self._began < WINDOW_S:
            return
        windows = int((now - self._began) / WINDOW_S)
        for app, calm in list(self._calm.items()):
            # The window that ends was a calm one where it has not been set back; those without any call were too.
            within = windows if self._made.get(app, 0) <= (self._rate or 0) else windows - 1
            if calm + within >= CALM_WINDOWS:
                del self._calm[app]
                LOWERED.labels("back").inc()
                structlog.get_logger().info("app within its rate again", app=app)
            else:
                self._calm[app] = calm + within
        self._made = {}
        self._began = now
