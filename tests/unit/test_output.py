"""What people see: ids to copy, values as they are."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from headrace.cli import output

pytestmark = pytest.mark.unit

ID = "1b4e28ba-2fa1-51d2-883f-0016d3cca427"
COLUMNS = ("run", "automation", "version", "status", "started", "ms", "key")
ROW = (ID, "airport/cancelled-flights", 1, "dead_lettered", "2013-01-01 05:15:00", 12.345, "x" * 100)


def printed(monkeypatch: pytest.MonkeyPatch, width: int) -> StringIO:
    file = StringIO()
    monkeypatch.setattr(output, "console", Console(file=file, width=width))
    return file


def test_lines_to_copy_from_are_whole_however_narrow_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output.print_lines(COLUMNS, [ROW, (*ROW[:-1], "a\n\x1b[2Jb")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        " ".join(map(str, ROW)).split(),
        [*lines[1].split()[:-1], "a\ufffd\ufffd[2Jb"],
    ]


def test_a_table_to_read_wraps_and_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    file = printed(monkeypatch, 80)
    output.print_table(COLUMNS, [ROW])
    assert max(map(len, file.getvalue().splitlines())) <= 80
    assert "…" not in file.getvalue()
    assert file.getvalue().count("x") == 100


def test_values_are_shown_as_json_and_iso_times_and_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    file = printed(monkeypatch, 200)
    at = datetime(2013, 1, 1, 5, 15, tzinfo=UTC)
    output.print_facts({"at": at, "event": {"time": at, "ok": True, "none": None}, "error": None, "key": "[/b] [red]"})
    assert [line.rstrip() for line in file.getvalue().splitlines()[1:]] == [
        "at     2013-01-01T05:15:00+00:00",
        'event  {"time":"2013-01-01T05:15:00Z","ok":true,"none":null}',
        "error",
        "key    [/b] [red]",
    ]
