"""How many requests a second each may send: token buckets (ITU-T I.371, "leaky bucket as a meter"), in the memory of
this gateway. Several gateways behind a load balancer let through as many times the rate as there are of them."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import Counter

from services.gateway.problems import Problem

MOST_BUCKETS = 20_000
"""Those longest unused are forgotten beyond; each takes some 200 bytes. A bucket unused for two seconds is full again,
and forgetting it changes nothing."""

BURST_S = 2.0
"""So many seconds' worth may come at once: clients send in bursts, and what counts is the load that lasts."""

LIMITED = Counter("headrace_http_limited_total", "Requests that were one too many, by what of", ["of"])


class Rates:
    """Buckets by kind and name. Belongs to one event loop; `clock` answers seconds."""

    def __init__(self, per_second: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        """`per_second` by kind; a kind that is not there, or 0, has no limit."""
        self._rates = {kind: rate for kind, rate in per_second.items() if rate > 0}
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def admit(self, kind: str, name: str) -> None:
        """Takes a request; raises Problem 429 if it is one too many, which takes nothing."""
        rate = self._rates.get(kind)
        if rate is None:
            return
        now, key = self._clock(), (kind, name)
        most = rate * BURST_S
        left, at = self._buckets.get(key, (most, now))
        left = min(most, left + (now - at) * rate)
        taken = left >= 1.0
        self._buckets[key] = (left - 1.0 if taken else left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if not taken:
            LIMITED.labels(kind).inc()
            wait = math.ceil((1.0 - left) / rate)
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many",
                f"{_KINDS.get(kind, kind)} may send {rate} requests a second; try again in {wait} s",
                headers={"Retry-After": str(wait)},
            )


_KINDS = {"key": "a key", "oidc": "a caller", "app": "all callers of an app together", "webhook": "a webhook"}
