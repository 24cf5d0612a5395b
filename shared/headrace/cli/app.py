"""The commands, and how a user's mistake ends: one sentence and an exit code, never a stack trace.

Exit codes: 0 done, 1 failed (the sentence says why), 2 wrong usage or a wrong setting, 130 interrupted.
"""

import signal
import sys

import typer
from confluent_kafka import KafkaException

from headrace.applying import NotLive, PartlyApplied
from headrace.cli import (
    app_values,
    audit,
    automations,
    bench,
    capture,
    chaos,
    deadletters,
    demo,
    docs,
    events,
    groups,
    keys,
    linting,
    runs,
    sources,
    stack,
    tables,
    topics,
    trials,
)
from headrace.cli.output import Failed, UsageError, print_located
from headrace.contracts.automation import DocumentError
from headrace.documents import WrongFiles
from headrace.embedded import StackError
from headrace.engine import PlatformUnavailable
from headrace.engine.steps.third_party import StepPackageError
from headrace.language import LanguageError
from headrace.publisher import NotPublishable, PublishError
from headrace.settings import SettingsError
from headrace.streams import StreamFailed

app = typer.Typer(
    help="Automations on Kafka streams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(stack.up)
app.command()(demo.demo)
app.command()(stack.doctor)
app.command()(stack.service)
app.command()(automations.apply)
app.command()(trials.run)
app.command("lint")(linting.lint_files)
app.command("test")(trials.run_cases)
app.add_typer(automations.app, name="automations")
app.add_typer(runs.app, name="runs")
app.add_typer(deadletters.app, name="dlq")
app.add_typer(keys.app, name="keys")
app.add_typer(app_values.secrets, name="secrets")
app.add_typer(app_values.environment, name="environment")
app.command()(audit.audit)
app.add_typer(events.app, name="events")
app.add_typer(tables.app, name="tables")
app.add_typer(sources.app, name="sources")
app.command()(topics.topics)
app.add_typer(groups.app, name="groups")
app.add_typer(capture.app, name="capture")
app.command()(topics.schema)
app.add_typer(docs.app, name="docs")
app.add_typer(bench.app, name="bench")
app.command()(chaos.chaos)

EXIT_FAILED, EXIT_USAGE = 1, 2

WRONG_USAGE = (NotPublishable, SettingsError, UsageError)
"""What no other try would change: the command line, or the environment, must."""

FAILURES = (
    DocumentError,
    Failed,
    LanguageError,
    NotLive,
    PartlyApplied,
    PlatformUnavailable,
    PublishError,
    StackError,
    StepPackageError,
    StreamFailed,
    KafkaException,
    OSError,
)


def main() -> None:
    """The console script."""
    # What is running is stopped in order, as by Ctrl-C.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        app()
    except WRONG_USAGE as error:
        sys.exit(_fail(error, EXIT_USAGE))
    except FAILURES as error:
        sys.exit(_fail(error, EXIT_FAILED))


def _fail(error: Exception, code: int) -> int:
    if isinstance(error, WrongFiles):
        print_located(error)
        return code
    # What Kafka's client raises holds its error; as text it would be a Python object.
    said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    print(f"headrace: {said or type(error).__name__}", file=sys.stderr)
    return code
