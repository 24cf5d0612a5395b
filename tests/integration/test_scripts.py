"""Scripts in real V8, in real processes: what they compute, what they may use up, and what they cannot reach."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
import uvloop
from conftest import until

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.engine import (
    AioHttpTransport,
    Orchestrator,
    Ports,
    Script,
    ScriptFailed,
    ScriptPool,
    Started,
    compile_plan,
)
from headrace.engine.scripts.messages import NoScripts
from headrace.engine.scripts.turns import Turns

pytestmark = pytest.mark.integration

NOW_MS = 1_356_998_400_123  # 2013-01-01T00:00:00.123Z


@pytest.fixture
async def pool() -> AsyncGenerator[ScriptPool]:
    found = ScriptPool()
    yield found
    await found.close()


def script(code: str, inputs: Any = None, seed: bytes = b"s" * 32) -> Script:
    return Script(code, inputs or {}, {"trigger": {"n": 7}, "steps": {"one": {"value": [1]}}}, seed, NOW_MS)


async def value(pool: ScriptPool, code: str, inputs: Any = None) -> Any:
    return (await pool.run("shop", script(code, inputs))).value


async def failure(pool: ScriptPool, code: str) -> ScriptFailed:
    with pytest.raises(ScriptFailed) as failed:
        await pool.run("shop", script(code))
    return failed.value


def workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "worker.py" in " ".join(each.cmdline())]


async def test_a_script_returns_json_of_its_inputs_and_context(pool: ScriptPool) -> None:
    inputs = {"prices": [1, 2.5], "__proto__": {"polluted": 1}, "text": "grüße \u2028 </script> 😀"}
    code = """
      const {trigger, steps} = context;
      const sum = inputs.prices[0] + inputs.prices[1];
      return {sum, n: trigger.n, one: steps.one.value[0], text: inputs.text, polluted: inputs.polluted};
    """
    assert await value(pool, code, inputs) == {"sum": 3.5, "n": 7, "one": 1, "text": inputs["text"]}
    assert await value(pool, "1 + 1") is None
    assert await value(pool, "return undefined") is None
    assert await value(pool, "return new Date()") == "2013-01-01T00:00:00.123Z"
    assert await value(pool, "return [NaN, null, 'x']") == [None, None, "x"]


async def test_it_works_in_the_event_loop_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_thread() -> Any:
        async def work() -> Any:
            pool = ScriptPool()
            try:
                return await value(pool, "return 1 + 1")
            finally:
                await pool.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())

    assert await asyncio.to_thread(in_thread) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("const a = 1;\nthrow new TypeError('wrong');", "line 2: TypeError: wrong"),
        ("const a = 1;\n\nreturn a.b.c;", "line 3: TypeError: Cannot read"),
        ("const f = () => {\n  null.x;\n};\nreturn f();", "line 2: TypeError"),
        ("const a = 1;\nretrun a;", "line 2: SyntaxError: Unexpected identifier"),
        ("return {a: 1", "SyntaxError"),
        ("} while (true) {} {", "SyntaxError"),
        ("throw 'text'", "Error: text"),
        ("throw {code: 7}", 'Error: {"code":7}'),
        ("throw null", "Error: null"),
        ("const e = new Error(); Object.defineProperty(e, 'message', {get() { throw 1 }}); throw e", "cannot be shown"),
        ("const a = {}; a.a = a; return a", "TypeError: Converting circular"),
        ("return 10n", "TypeError: Do not know how to serialize a BigInt"),
        ("return Promise.resolve(1)", "a promise"),
        ("return nothing_here", "line 1: ReferenceError"),
        ("(function f() { f() })()", "RangeError: Maximum call stack"),
    ],
)  # fmt: skip
async def test_a_mistake_of_the_author_is_told_with_its_line(pool: ScriptPool, code: str, words: str) -> None:
    failed = await failure(pool, code)
    assert failed.type == "script_error"
    assert words in failed.message


@pytest.mark.parametrize(
    ("code", "type"),
    [
        ("while (true) {}", "script_timeout"),
        ("for (;;) { try { while (true) {} } catch {} finally { while (true) {} } }", "script_timeout"),
        ("return /(a+)+$/.test('a'.repeat(40) + 'b')", "script_timeout"),
        ("let b = 10n ** 100000n; for (let i = 0; i < 99; i++) b = b * b; return 1", None),
        ("while (true) Promise.resolve().then(() => 1)", None),
        ("Promise.resolve().then(() => { while (true) {} }); return 1", None),
        ("return {toJSON() { while (true) {} }}", "script_timeout"),
        ("const a = []; while (true) a.push('x'.repeat(100) + a.length)", "script_memory"),
        ("const a = []; while (true) a.push(a.slice())", "script_memory"),
        ("const a = []; while (true) a.push(new Uint8Array(1 << 22).fill(1))", "script_memory"),
        ("const a = []; while (true) a.push(new Uint8Array(1 << 10).fill(1))", None),
        ("return new ArrayBuffer(2 ** 31).byteLength", "script_memory"),
        ("let s = 'x'; for (let i = 0; i < 26; i++) s = s + s; return s.split('').sort().join('')", "script_memory"),
        ("return new Array(2 ** 32 - 1).fill(1)", None),
        ("return 'x'.repeat(2 ** 29 - 24).split('')", "script_memory"),
        ("return 'x'.repeat(1 << 20)", "script_output"),
        ("return 'ü'.repeat(1 << 19)", "script_output"),
        ("let a = []; for (let i = 0; i < 3000; i++) a = [a]; return a", "script_output"),
        ("return '\\ud800'", "script_output"),
        ("Object.prototype.toJSON = () => 1; return 2", "script_output"),
        ("JSON.stringify = () => { while (true) {} }; Array.prototype.push = 1; String = 1; return 2", ""),
    ],
)  # fmt: skip
async def test_a_script_that_takes_too_much_is_ended_and_the_next_one_runs(
    pool: ScriptPool, code: str, type: str | None
) -> None:
    """Where two ends are right (`None`), it matters only that there is one."""
    try:
        await pool.run("shop", script(code))
        found = ""
    except ScriptFailed as failed:
        found = failed.type
        assert type is not None or found in ("script_timeout", "script_memory")
    assert type is None or found == type
    assert await value(pool, "return inputs.n + 1", {"n": 1}) == 2


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("let a = []; for (let i = 0; i < 3000; i++) a = [a]; return a", "nested too deeply"),
        ("return '\\ud800'", "half a character"),
    ],
)
async def test_a_value_that_is_no_json_is_told_why(pool: ScriptPool, code: str, why: str) -> None:
    with pytest.raises(ScriptFailed, match=why):
        await pool.run("shop", script(code))


async def test_the_largest_value_and_a_fair_share_of_memory_are_accepted(pool: ScriptPool) -> None:
    assert len(await value(pool, "return 'x'.repeat((1 << 20) - 2)")) == (1 << 20) - 2
    much = "const a = []; for (let i = 0; i < 40; i++) a.push(new Uint8Array(1 << 20).fill(1)); return a.length"
    objects = "const a = []; for (let i = 0; i < 300000; i++) a.push({i}); return a.length"
    for _ in range(5):
        assert await value(pool, much) == 40
        assert await value(pool, objects) == 300_000


async def test_the_same_step_of_the_same_run_sees_the_same_chance_and_the_same_time(pool: ScriptPool) -> None:
    code = """
      const seen = [Date.now(), new Date().getTime(), +new Date, Date(), new Date().constructor.now(),
        new Intl.DateTimeFormat('en', {dateStyle: 'full'}).format(), new Intl.DateTimeFormat().formatToParts().length,
        new Date(2013, 0, 1).toString(), class extends Date {}.now(), (new (class extends Date {})).getTime(),
        Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).getTime(), new Date('2020-01-01').getFullYear(),
        Reflect.construct(Date, []).getTime(), typeof Temporal === 'object' && 'Now' in Temporal,
        Array.from({length: 5}, Math.random), new Date() instanceof Date];
      return seen;
    """
    first = await value(pool, code)
    await pool.close()
    another = ScriptPool()
    try:
        again = [await value(another, code) for _ in range(2)]
        other = (await another.run("shop", script("return Math.random()", seed=b"t" * 32))).value
    finally:
        await another.close()
    assert again == [first, first]
    assert first[:5] == [
        NOW_MS,
        NOW_MS,
        NOW_MS,
        "Tue Jan 01 2013 00:00:00 GMT+0000 (Coordinated Universal Time)",
        NOW_MS,
    ]
    assert first[5] == "Tuesday, January 1, 2013"
    assert first[10:15] == ["UTC", 0, 2020, NOW_MS, False]
    assert len(set(first[15])) == 5
    assert all(0 <= number < 1 for number in first[15])
    assert other not in first[15]


async def test_random_numbers_are_spread_evenly(pool: ScriptPool) -> None:
    code = "const n = Array(10).fill(0); for (let i = 0; i < 1e5; i++) n[Math.floor(Math.random() * 10)]++; return n"
    assert all(9_500 < count < 10_500 for count in await value(pool, code))


async def test_nothing_is_in_reach_but_the_language(pool: ScriptPool) -> None:
    names = (
        "require process fetch XMLHttpRequest WebSocket setTimeout importScripts WebAssembly Atomics "
        "SharedArrayBuffer Deno read load print performance crypto os d8"
    )
    assert await value(pool, f"return '{names}'.split(' ').filter(name => globalThis[name] !== undefined)") == []
    assert "SyntaxError" in (await failure(pool, "import fs from 'fs'")).message
    code = "let said = 'pending'; import('fs').then(() => said = 'loaded', () => said = 'refused'); return said"
    assert await value(pool, code) == "pending"
    assert await value(pool, "return this === undefined || this === globalThis") is True


async def test_a_script_leaves_nothing_for_the_next_one(pool: ScriptPool) -> None:
    await value(
        pool, "globalThis.left = 1; Array.prototype.left = 2; Math.random = () => 7; Object.freeze(Date); return 1"
    )
    for _ in range(4):
        assert await value(pool, "return [typeof left, typeof [].left, Math.random() < 1]") == [
            "undefined",
            "undefined",
            True,
        ]


async def test_lines_are_logged_up_to_a_bound_and_kept_of_a_script_that_fails(pool: ScriptPool) -> None:
    result = await pool.run(
        "shop", script("console.log('a', 1, {b: [2]}, undefined); console.error(Symbol('s')); return 1")
    )
    assert result.logs == ('a 1 {"b":[2]} undefined', "Symbol(s)")
    many = await pool.run("shop", script("for (let i = 0; i < 1000; i++) console.log(i); return 1"))
    assert many.logs == (*(str(n) for n in range(200)), "(800 more lines)")
    large = await pool.run("shop", script("for (let i = 0; i < 9; i++) console.log('x'.repeat(30000)); return 1"))
    assert [len(line) for line in large.logs] == [30_000, 30_000, 14]
    failed = await failure(pool, "console.log('before'); throw new Error('x')")
    assert failed.logs == ("before",)
    odd = await pool.run("shop", script("console.log({toJSON() { throw 1 }}); return 1"))
    assert odd.logs == ("(cannot be shown)",)


async def test_workers_are_few_are_used_again_and_know_nothing(
    pool: ScriptPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SECRET", "do not tell")
    assert workers() == []
    await asyncio.gather(*(value(pool, "return 1") for _ in range(10)))
    first = workers()
    assert len(first) == 2
    for worker in first:
        assert worker.environ() == {}
        assert os.getsid(worker.pid) == worker.pid
        assert worker.cwd() == "/"
        links = [os.readlink(f"/proc/{worker.pid}/fd/{name}") for name in os.listdir(f"/proc/{worker.pid}/fd")]
        # What V8's event loop holds is its own; of ours there is one pipe.
        assert all("socket" in link or link == "/dev/null" or "anon_inode" in link or "pipe" in link for link in links)
        assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert worker.rlimit(psutil.RLIMIT_NOFILE) == (16, 16)
        assert worker.rlimit(psutil.RLIMIT_DATA)[0] < 1 << 31
    await asyncio.gather(*(value(pool, "return 1") for _ in range(10)))
    assert {each.pid for each in workers()} == {each.pid for each in first}
    await pool.close()
    assert workers() == []
    with pytest.raises(RuntimeError, match="closed"):
        await value(pool, "return 1")


async def test_a_worker_that_dies_amid_a_script_is_an_error_that_says_so_and_idle_ones_are_replaced(
    pool: ScriptPool,
) -> None:
    running = asyncio.create_task(pool.run("shop", script("while (true) {}")))
    await asyncio.to_thread(until, lambda: len(workers()) == 1, "a worker")
    workers()[0].kill()
    with pytest.raises((ScriptFailed, Exception)) as ended:
        await running
    # Killed before it was ready, it is the platform's fault; after that, the script's process ended.
    assert "SIGKILL" in str(ended.value) or "ready" in str(ended.value)
    assert await value(pool, "return 1") == 1
    for worker in workers():
        worker.kill()
        psutil.wait_procs([worker], timeout=10)
    assert await value(pool, "return 2") == 2


async def test_a_cancelled_script_ends_at_once_and_its_place_is_free(pool: ScriptPool) -> None:
    await asyncio.gather(*(value(pool, "return 1") for _ in range(2)))
    before = {each.pid for each in workers()}
    running = [asyncio.create_task(pool.run("shop", script("while (true) {}"))) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.to_thread(until, lambda: len(pool._busy) == 2, "two scripts under way")
    for each in running:
        each.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    assert not before & {each.pid for each in workers()}
    assert await value(pool, "return 1") == 1


async def test_a_worker_that_hangs_is_killed(pool: ScriptPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.scripts.limits.TIME_S", 0.1)
    monkeypatch.setattr("headrace.engine.scripts.pool.GRACE_S", 0.1)
    await value(pool, "return 1")
    (worker,) = workers()
    worker.send_signal(signal.SIGSTOP)
    assert (await failure(pool, "return 1")).type == "script_timeout"
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_workers_die_with_their_parent_even_if_they_cannot_see_that_it_is_gone() -> None:
    """The worker is stopped: only a signal from the system ends it."""
    program = """
import asyncio, os, signal
from headrace.engine import Script, ScriptPool
async def main():
    pool = ScriptPool()
    await pool.run("a", Script("return 1", {}, {}, b"s" * 32, 0))
    os.kill(pool._idle[0].pid, signal.SIGSTOP)
    print(pool._idle[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    until(lambda: is_gone(int(ended.stdout)), "the worker's end")


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_apps_take_turns_and_within_one_the_first_is_first() -> None:
    turns = Turns(1)
    served: list[str] = []
    await turns.take("first")

    async def work(app: str, name: str) -> None:
        await turns.take(app)
        served.append(name)
        turns.give_back()

    greedy = [asyncio.create_task(work("greedy", f"g{n}")) for n in range(5)]
    await asyncio.sleep(0)
    modest = [asyncio.create_task(work("modest", f"m{n}")) for n in range(2)]
    await asyncio.sleep(0)
    greedy[1].cancel()
    turns.give_back()
    await asyncio.gather(*greedy, *modest, return_exceptions=True)
    assert served == ["g0", "m0", "g2", "m1", "g3", "g4"]
    await turns.take("anyone")


async def test_a_place_given_to_someone_cancelled_at_that_moment_is_not_lost() -> None:
    turns = Turns(1)
    await turns.take("a")
    waiting = asyncio.create_task(turns.take("b"))
    await asyncio.sleep(0)
    turns.give_back()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5):
        await turns.take("c")


# As a step of a run.

AT = datetime(2013, 1, 1, tzinfo=UTC)


async def run_steps(pool: ScriptPool | None, *steps: dict[str, Any], trigger: Any = None) -> list[Any]:
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps}
    )
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": "r-1", "app": "shop", "automation": "a", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": trigger or {}, "cause": cause}
    )  # fmt: skip
    rows: Any = None
    scripts = NoScripts() if pool is None else pool
    ports = Ports(rows=rows, http=AioHttpTransport(), scripts=scripts)
    outcome = await Orchestrator(ports).execute(compile_plan(document, 1), Started(job, Location("jobs", 0, 0), AT))
    return outcome.record["steps"]


async def test_a_script_step_sees_trigger_and_steps_and_its_value_is_seen_by_later_ones(pool: ScriptPool) -> None:
    code = "console.log('hi'); return {sum: context.trigger.n + context.steps.half.value + inputs.more, at: new Date()}"
    steps = await run_steps(
        pool,
        {"id": "half", "use": "script.expression", "with": {"value": "{{ trigger.n / 2 }}"}},
        {"id": "js", "use": "script.js", "with": {"code": code, "inputs": {"more": "{{ steps.half.value + 1 }}"}}},
        {
            "id": "seen",
            "use": "script.expression",
            "with": {"value": ["{{ steps.js.value.sum }}", "{{ steps.js.logs }}"]},
        },
        trigger={"n": 10},
    )
    assert steps[1]["outputs"] == {
        "success": True,
        "value": {"sum": 21, "at": "2013-01-01T00:00:00.000Z"},
        "logs": ["hi"],
    }
    assert steps[2]["outputs"]["value"] == [21, ["hi"]]


async def test_a_failed_script_is_the_steps_error_with_its_lines_and_is_not_tried_again(pool: ScriptPool) -> None:
    (step,) = await run_steps(
        pool, {"id": "js", "use": "script.js", "with": {"code": "console.log('so far');\nthrow new Error('x')"}}
    )
    assert step["error"] == {"type": "script_error", "message": "line 2: Error: x", "retryable": False}
    assert step["outputs"]["logs"] == ["so far"]
    assert "attempts" not in step


async def test_waiting_for_a_place_is_within_the_steps_timeout(pool: ScriptPool) -> None:
    for _ in range(2):
        await pool._turns.take("others")
    step = {"id": "js", "use": "script.js", "timeout": "100ms", "with": {"code": "return 1"}}
    (result,) = await run_steps(pool, step)
    assert (result["status"], result["error"]["type"]) == ("timed_out", "timeout")
    for _ in range(2):
        pool._turns.give_back()
    assert await value(pool, "return 1") == 1


async def test_an_engine_without_a_pool_says_so() -> None:
    (step,) = await run_steps(None, {"id": "js", "use": "script.js", "with": {"code": "return 1"}})
    assert step["error"]["type"] == "script_unavailable"
