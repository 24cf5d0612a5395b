"""A service that starts before its platform is there."""

from pathlib import Path

import pytest
from conftest import until

from headrace.chaos.proxy import Proxy
from headrace.embedded import Supervisor
from headrace.settings import Settings

pytestmark = pytest.mark.integration


def test_a_service_that_starts_while_kafka_is_away_is_ready_once_it_is_back(topics: Settings, tmp_path: Path) -> None:
    proxy = Proxy()
    proxy.to(int(topics.kafka["bootstrap.servers"].rpartition(":")[2]))
    proxy.be("cut")
    # After the first answer the broker's own address is used: only the beginning goes through here.
    settings = topics.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{proxy.port}"})
    try:
        with Supervisor(settings, tmp_path) as services:
            started = services.start_service("recorder")
            until(lambda: "not there yet" in started.log.read_text(), "the service to miss its broker")
            proxy.be("open")
            services.wait_ready()
    finally:
        proxy.close()
