"""`runs list`, `runs show`, `runs cancel`."""

import getpass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from headrace import cancelling
from headrace.auditing import audited
from headrace.cli.output import (
    Failed,
    Json,
    UsageError,
    check_reason,
    connected_settings,
    console,
    one_line,
    print_facts,
    print_json,
    print_lines,
    print_table,
    shown,
    with_storage,
)
from headrace.contracts.runs import FINAL_STATUSES
from headrace.storage import RunFilter, Storage

app = typer.Typer(help="The runs that were made.", no_args_is_help=True)

SHORTEST_PREFIX = 8
"""Characters of a run's id that may stand for it: a UUID's first group; fewer are a slip of the hand."""

STATUSES = sorted({*FINAL_STATUSES, "running", "waiting", "retrying"})


@app.command("list")
def list_runs(
    app_name: Annotated[str | None, typer.Option("--app")] = None,
    automation: Annotated[str | None, typer.Option("--automation")] = None,
    status: Annotated[str | None, typer.Option("--status", help=", ".join(STATUSES))] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="UTC")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Runs, newest first."""
    if status is not None and status not in STATUSES:
        raise UsageError(f"unknown status {status!r}; known are {', '.join(STATUSES)}")
    start = None if since is None else since.replace(tzinfo=UTC)
    asked = RunFilter(app_name, automation, status, since=start, limit=limit)
    found = with_storage(connected_settings(), lambda storage: storage.runs.find(asked))
    if as_json:
        print_json(found)
        return
    print_lines(
        ("run", "automation", "version", "status", "started", "ms", "key"),
        [
            (
                run["_id"],
                f"{run['app']}/{run['automation']}",
                run["version"],
                run["status"],
                f"{run['started_at']:%Y-%m-%d %H:%M:%S}",
                run["duration_ms"],
                run["key"],
            )
            for run in found
        ],
    )


@app.command("show")
def show(
    run_id: Annotated[str, typer.Argument(help=f"The run's id, or {SHORTEST_PREFIX} or more of its first characters")],
    as_json: Json = False,
) -> None:
    """One run with every step's inputs, outputs and timing."""
    run = with_storage(connected_settings(), lambda storage: _find(storage, run_id))
    if run is None:
        raise Failed(f"no run {run_id!r}; `headrace runs list` shows the newest")
    if as_json:
        print_json(run)
        return
    print_facts({name: value for name, value in run.items() if name not in ("steps", "retries", "history")})
    for each in run.get("history", ()):
        console.print(Text(_came_to(each)))
    tree = Tree("steps")
    for step in run["steps"]:
        _add(tree, step)
    console.print(tree)
    if run.get("retries"):
        columns = ("attempt", "failed at", "step", "error", "went on at")
        print_table(columns, [_rung(each) for each in run["retries"]])


@app.command("cancel")
def cancel(
    reason: Annotated[str, typer.Option("--reason", help="For whoever looks at the run")],
    run_ids: Annotated[list[str] | None, typer.Argument(help="Ids of runs, or their first characters")] = None,
    app_name: Annotated[str | None, typer.Option("--app", help="With --automation: all runs of it")] = None,
    automation: Annotated[str | None, typer.Option("--automation")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who asks; by default the system's user")] = None,
    as_json: Json = False,
) -> None:
    """End runs: those that wait or are retried, and what is under way or queued; their records say whether the step at
    work had its effect."""
    if bool(run_ids) == bool(app_name and automation) or bool(app_name) != bool(automation):
        raise UsageError("name runs by their ids, or an automation by --app and --automation")
    check_reason(reason)
    settings, who = connected_settings(), by or getpass.getuser()

    async def ask(storage: Storage) -> int:
        if app_name and automation:
            await cancelling.check_there(storage, app_name, automation)
            asked: dict[str, object] = {"automation": f"{app_name}/{automation}"}
            async with audited(storage, "cancel", who, asked, {"reason": reason}) as done:
                done.count = await cancelling.cancel_automation(settings, storage, app_name, automation, who, reason)
            return done.count
        runs = await _unended(storage, run_ids or [])
        async with audited(storage, "cancel", who, {"runs": [run["_id"] for run in runs]}, {"reason": reason}) as done:
            done.count = await cancelling.cancel_runs(settings, runs, who, reason)
        return done.count

    try:
        count = with_storage(settings, ask)
    except (cancelling.NotAsked, cancelling.NothingToCancel) as error:
        raise Failed(str(error)) from None
    if as_json:
        print_json({"cancelled": count, "automation": automation})
    elif run_ids:
        console.print(f"asked for the end of {_runs(count)}", highlight=False)
    else:
        told = f"asked for the end of {_runs(count)} at rest, and of all under way or queued"
        console.print(told, highlight=False)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


async def _unended(storage: Storage, asked: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in asked:
        run = await _find(storage, each)
        if run is None:
            raise Failed(f"no run {each!r}: one that is queued or under way has no record yet; cancel its automation's")
        if run["status"] in FINAL_STATUSES:
            waits = "; `headrace dlq redrive` or `dlq discard` its letter" if run["status"] == "dead_lettered" else ""
            raise Failed(f"run {run['_id']} has ended: {run['status']}{waits}")
        found.append(run)
    return found


def _rung(retried: dict[str, Any]) -> tuple[object, ...]:
    error = f"{retried['error_type']}: {retried['message']}"
    return retried["attempt"], retried["failed_at"], retried["step"], error, retried["due"]


def _came_to(earlier: dict[str, Any]) -> str:
    error = earlier["error"]
    why = f", {error['type']}: {error['message']}" if error else ""
    return one_line(f"generation {earlier['generation']}: {earlier['status']}, {shown(earlier['finished_at'])}{why}")


async def _find(storage: Storage, asked: str) -> dict[str, Any] | None:
    run = await storage.runs.get(asked)
    if run is not None or len(asked) < SHORTEST_PREFIX:
        return run
    ids = await storage.runs.ids_from(asked, limit=2)
    if len(ids) > 1:
        raise Failed(f"more than one run begins with {asked!r}: {', '.join(ids)}, …; give more of the id")
    return await storage.runs.get(ids[0]) if ids else None


def _add(tree: Tree, step: dict[str, Any]) -> None:
    node = tree.add(Text(f"{step['id']} ({step['use']}): {step['status']}, {step['duration_ms']} ms"))
    for name in ("inputs", "outputs", "error"):
        if step.get(name):
            node.add(Text(f"{name}: {shown(step[name])}"))
    for child in step.get("children", ()):
        _add(node, child)
