"""An embedded Kafka and MongoDB that can be killed, and proxies between them and chosen processes."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from headrace.chaos.plan import Target
from headrace.chaos.proxy import Mode, Proxy
from headrace.embedded.kafka import EmbeddedKafka, Listener
from headrace.embedded.mongodb import EmbeddedMongoDB
from headrace.embedded.ports import HOST, answers, reserve_ports
from headrace.embedded.processes import Children
from headrace.embedded.statefile import StateDirectory
from headrace.settings import Settings, load_settings

RETRY_TIERS = "2s,5s"
"""What is tried again is through before a plan's deadline, and a plan of a minute sees many."""


class Way:
    """The proxies between one process and the platform's parts, and the addresses that lead through them."""

    def __init__(self, number: int) -> None:
        self.kafka, self.mongodb = Proxy(), Proxy()
        (port,) = reserve_ports(1)
        self.listener = Listener(f"VIA{number}", port, self.kafka.port)

    @property
    def environment(self) -> dict[str, str]:
        """What the process gets instead of the direct addresses."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{self.kafka.port}",
            # Without it the driver would find the member's own address and go there.
            "MONGODB_URI": f"mongodb://{HOST}:{self.mongodb.port}/?directConnection=true",
        }

    def be(self, side: str, mode: Mode, latency_s: float = 0.0) -> None:
        """Both proxies, or the one that `side` names."""
        for name, proxy in (("kafka", self.kafka), ("mongodb", self.mongodb)):
            if side in (name, "both"):
                proxy.be(mode, latency_s)

    def close(self) -> None:
        """Ends the proxies."""
        self.kafka.close()
        self.mongodb.close()


class System:
    """The platform's parts, on a directory of their own that is empty at the start. A context manager.

    Always embedded, whatever the settings name: what is killed here must be nobody else's.
    """

    def __init__(
        self, asked: Settings, directory: Path, proxied: Sequence[Target], on_progress: Callable[[str], None]
    ) -> None:
        """Call it in the main thread and outside an event loop; raises StackError, and leaves no process then."""
        self.ways = {target: Way(number) for number, target in enumerate(proxied)}
        self._children = Children()
        self._state = StateDirectory(directory)
        self._state.clear()
        shutil.rmtree(directory / "logs", ignore_errors=True)
        self._mongodb = EmbeddedMongoDB(directory / "mongodb", self._children, on_progress)
        listeners = [way.listener for way in self.ways.values()]
        self._kafka = EmbeddedKafka(directory / "kafka", self._children, on_progress, listeners)
        try:
            self.settings = self._start(asked, directory)
        except BaseException:
            self.close()
            raise

    def _start(self, asked: Settings, directory: Path) -> Settings:
        self._mongodb.start()
        self._kafka.start()
        mongodb, kafka = self._mongodb.wait(), self._kafka.wait()
        self._kafka_port = int(kafka.rpartition(":")[2])
        self._mongodb_port = int(mongodb.removeprefix("mongodb://").split("/")[0].rpartition(":")[2])
        for way in self.ways.values():
            way.kafka.to(way.listener.port)
            way.mongodb.to(self._mongodb_port)
        plain = {name: None for name in Settings.model_fields if name.startswith(("kafka_sasl_", "kafka_ssl_"))}
        values = {**asked.model_dump(exclude={"kafka_bootstrap_servers", "mongodb_uri"}), **plain}
        settings = load_settings(
            **values
            | {
                "kafka_security_protocol": "PLAINTEXT",
                "kafka_bootstrap_servers": kafka,
                "mongodb_uri": mongodb,
                "state_dir": directory,
                "allow_private_hosts": True,
                "retry_tiers": RETRY_TIERS,
            }
        )
        # The client would tell of every broken connection on our terminal: the harness breaks them. Services get theirs
        # from the environment.
        settings.kafka["log_level"] = "0"
        return settings

    def kill_broker(self) -> None:
        """SIGKILL; its data stay."""
        self._kafka.kill()

    def restart_broker(self) -> None:
        """On the same ports and data; `broker_answers` says when."""
        self._kafka.restart()

    def broker_answers(self) -> bool:
        """Whether the broker listens."""
        return answers(self._kafka_port)

    def kill_mongod(self) -> None:
        """SIGKILL; its data stay."""
        self._mongodb.kill()

    def restart_mongod(self) -> None:
        """On the same port and data; `mongod_answers` says when."""
        self._mongodb.restart()

    def mongod_answers(self) -> bool:
        """Whether mongod listens."""
        return answers(self._mongodb_port)

    def heal(self) -> None:
        """Opens every proxy."""
        for way in self.ways.values():
            way.be("both", "open")

    @property
    def pids(self) -> list[int]:
        """The living parts' processes."""
        return [child.pid for child in self._children if child.alive]

    def close(self) -> None:
        """Ends all of it; data stay."""
        try:
            self._children.stop()
        finally:
            for way in self.ways.values():
                way.close()
            self._state.release()

    def __enter__(self) -> "System":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
