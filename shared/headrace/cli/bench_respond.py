"""`bench respond`: how long the caller of a synchronous webhook waits, with the senders on the same machine."""

import asyncio
from typing import Annotated

import typer
import uvloop

from headrace.cli.bench_gateway import WARM_UP_S, Senders, apply_hook, apps_file
from headrace.cli.demo import percentile
from headrace.cli.output import Json, print_json, print_table
from headrace.cli.stack import running
from headrace.installation import GATEWAY, READS
from headrace.settings import load_settings

OK = 200


def respond(
    rate: Annotated[int, typer.Option(help="Webhooks a second", min=1)] = 50,
    seconds: Annotated[int, typer.Option(min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Measure a synchronous webhook from its request to the value of its run, on a fresh embedded stack."""
    settings = load_settings()
    directory = settings.state_dir / "bench"
    update = {"state_dir": directory, "apps_file": apps_file(directory)}
    names = (*READS, GATEWAY)
    with running(settings.model_copy(update=update), fresh=True, quiet=as_json, names=names) as found:
        apply_hook(found.settings, respond={})
        port = next(each.http_port for each in found.services.processes if each.http_port is not None)
        senders = Senders(port, OK)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(senders.paced(rate, WARM_UP_S))
            times = runner.run(senders.paced(rate, seconds))
    if senders.refused:
        raise RuntimeError(f"{senders.refused} were not answered with a value: these figures mean nothing")
    shares = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ms = {name: round(percentile(times, share) * 1e3, 1) for name, share in shares}
    if as_json:
        print_json({"rate": rate, "count": len(times), **{f"{name}_ms": each for name, each in ms.items()}})
        return
    told = ", ".join(f"{name} {each}" for name, each in ms.items())
    print_table(("", ""), [(f"ms to the value at {rate} a second", told)])
