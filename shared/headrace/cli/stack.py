"""`up`, `doctor`, `service`."""

import getpass
import runpy
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, NamedTuple

import typer
from confluent_kafka import KafkaException

from headrace.api_keys import first_key
from headrace.cli.keys import tell_made
from headrace.cli.output import Json, UsageError, console, print_json, print_table, with_storage
from headrace.embedded import Stack, Supervisor, start_stack
from headrace.embedded.doctor import diagnose
from headrace.installation import READS, SERVICES, topic_specs
from headrace.settings import Settings, load_settings
from headrace.streams import StreamFailed
from headrace.streams.admin import make_topics


class Running(NamedTuple):
    """A stack with its services, ready."""

    settings: Settings
    stack: Stack
    services: Supervisor

    @property
    def ports(self) -> dict[str, int]:
        """The port of /healthz, /readyz and /metrics by process name."""
        return {process.name: process.ops_port for process in self.services.processes}


@contextmanager
def running(
    settings: Settings, *, fresh: bool = False, quiet: bool = False, names: Sequence[str] = tuple(READS)
) -> Generator[Running]:
    """A stack, its topics and one process of each of `names`; all of it ends with the block, however that ends."""

    def tell(text: str) -> None:
        if not quiet:
            console.print(f"[dim]{text}[/dim]")

    with start_stack(settings, on_progress=tell, fresh=fresh) as stack:
        connected = stack.settings
        try:
            make_topics(connected.kafka, topic_specs(connected))
        except (StreamFailed, KafkaException):
            stack.check()  # a broker that died is the better reason
            raise
        services = Supervisor(connected, settings.state_dir / "logs")
        try:
            for name in names:
                services.start_service(name)
            services.wait_ready(check=stack.check)
            if names:
                tell(f"services: {', '.join(names)} ready")
            yield Running(connected, stack, services)
        finally:
            services.stop()


def up() -> None:
    """Start what is missing (Kafka, MongoDB, the services) and keep it running until Ctrl-C."""
    with running(load_settings(), names=SERVICES) as found:
        address = found.stack.addresses
        console.print(f"Kafka    {address.kafka} ({address.kafka_from})")
        console.print(f"MongoDB  {address.mongodb if address.mongodb_from != 'configured' else 'as configured'}")
        for name, port in found.ports.items():
            console.print(f"{name:<18} http://127.0.0.1:{port}/metrics")
        for process in found.services.processes:
            if process.http_port is not None:
                console.print(f"HTTP     {_scheme(found.settings)}://{found.settings.http_host}:{process.http_port}")
        _make_first_key(found.settings)
        console.print(HOW)
        while True:
            found.stack.check()
            found.services.check()
            time.sleep(1)


def _scheme(settings: Settings) -> str:
    return "http" if settings.http_tls_certificate is None else "https"


def _make_first_key(settings: Settings) -> None:
    made = with_storage(settings, lambda storage: first_key(storage, getpass.getuser()))
    if made is not None:
        console.print("The first API key, which is shown this once:")
        tell_made(made)


HOW = """
In another terminal, in this directory:
  headrace apply -f examples/flights
  headrace events publish flight.diverted '{"flight": 11}' --app airport
  headrace runs list
Ctrl-C stops everything; data stay under .headrace/."""


def doctor(as_json: Json = False) -> None:
    """Check what Headrace needs here, and the configured cluster; a remedy beside each failure."""
    checks = diagnose(load_settings())
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks])
    else:
        print_table(
            ("", "check", "found", "remedy"),
            [("ok" if check.ok else "FAILED", check.name, check.detail, check.remedy) for check in checks],
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def service(name: Annotated[str, typer.Argument(help=f"One of {', '.join(SERVICES)}")]) -> None:
    """Run one service until SIGTERM; serves /healthz, /readyz and /metrics."""
    if name not in SERVICES or find_spec(f"services.{name}") is None:
        raise UsageError(f"unknown service {name!r}; known are {', '.join(SERVICES)}")
    runpy.run_module(f"services.{name}", run_name="__main__", alter_sys=True)


def counters(text: str, wanted: Mapping[str, str]) -> dict[str, float]:
    """Sums of Prometheus counters in an exposition, by our own names: {ours: name in the exposition}."""
    sums = dict.fromkeys(wanted, 0.0)
    for line in text.splitlines():
        for ours, name in wanted.items():
            if line.startswith((f"{name} ", f"{name}{{")):
                sums[ours] += float(line.rpartition(" ")[2])
    return sums
