"""The apps file: read whole, or refused with the place and without the value."""

import re
from pathlib import Path

import pytest
import yaml

from headrace.apps import load_apps, read_apps
from headrace.engine.connections import SmtpConnection, SqlConnection
from headrace.settings import SettingsError, load_settings

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "docs/apps.md"


def write(directory: Path, text: str) -> Path:
    file = directory / "apps.yaml"
    file.write_text(text)
    return file


def test_without_a_file_no_app_has_anything() -> None:
    config = load_apps(load_settings())("airport")
    assert (config.env, config.secrets, config.connections, bool(config.mask)) == ({}, {}, {}, False)


def test_the_example_of_the_page_is_a_whole_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/crm-token").write_text("token-of-crm\n")
    for name in ("SIGNING_KEY", "SMTP_PASSWORD", "LLM_KEY"):
        monkeypatch.setenv(f"AIRPORT_{name}", f"value of {name}")
    monkeypatch.setenv("AIRPORT_SQL_URL", "postgresql://ann:p%40ss-word@db/x")
    monkeypatch.setenv("AIRPORT_MONGODB_URI", "mongodb://db/")
    config = load_apps(load_settings(apps_file=write(tmp_path, text)))("airport")
    assert config.env == {"REGION": "eu-west"}
    assert config.secrets == {"CRM_TOKEN": "token-of-crm", "SIGNING_KEY": "value of SIGNING_KEY"}
    assert config.settings == {"company": "Airport", "url": "https://airport.example"}
    assert {name: each.type for name, each in config.connections.items()} == {
        "mail": "smtp",
        "warehouse": "sql",
        "catalogue": "mongodb",
        "assistant": "llm",
    }
    mail, warehouse = config.connections["mail"], config.connections["warehouse"]
    assert isinstance(mail, SmtpConnection)
    assert isinstance(warehouse, SqlConnection)
    assert mail.password is not None
    assert mail.password.get_secret_value() == "value of SMTP_PASSWORD"
    assert warehouse.read_only


def test_an_app_has_nothing_of_another(tmp_path: Path) -> None:
    found = load_apps(load_settings(apps_file=write(tmp_path, "apps: {one: {secrets: {KEY: hunter2}}, two: {}}")))
    assert (found("one").secrets, found("two").secrets, found("three").secrets) == ({"KEY": "hunter2"}, {}, {})


def test_a_reference_is_not_followed_twice(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{env: PATH}")
    assert read_apps(write(tmp_path, "apps: {a: {secrets: {K: {file: x}}}}"))["a"].secrets == {"K": "{env: PATH}"}


SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apps: [", "no YAML, line 1"),
        ("{}", r"apps: must be given"),
        ("apps: {Air: {}}", r"apps\.Air: expected text: 1 to 64 of a-z"),
        ("apps: {a: {secret: {K: hunter2-secret}}}", r"apps\.a\.secret: unknown name"),
        ("apps: {a: {secrets: {K: [hunter2-secret]}}}", r"apps\.a\.secrets\.K: .*expected text, \{file: path\}"),
        ("apps: {a: {secrets: {K: 12345678}}}", r"apps\.a\.secrets\.K: .*expected text"),
        ("apps: {a: {secrets: {K: {file: nowhere}}}}", r"apps\.a\.secrets\.K: .*nowhere cannot be read \(No such"),
        ("apps: {a: {secrets: {K: {env: HEADRACE_NOWHERE}}}}", r"HEADRACE_NOWHERE is not set"),
        ("apps: {a: {secrets: {K: {path: x}}}}", r"apps\.a\.secrets\.K: .*\{env: VARIABLE\}"),
        ("apps: {a: {env: {K: 5}}}", r"apps\.a\.env\.K: "),
        ("apps: {a: {connections: {c: {type: ftp}}}}", r"apps\.a\.connections\.c: expected one of 'smtp'"),
        ("apps: {a: {connections: {c: {type: sql}}}}", r"connections\.c\.url: must be given"),
        ("apps: {a: {connections: {c: {type: sql, url: 'oracle://x:hunter2-secret@y'}}}}", r"postgresql://, mysql://"),
        ("apps: {a: {connections: {c: {type: llm, base_url: 'http://u:hunter2-secret@x'}}}}", r"without user"),
        ("apps: {a: {connections: {c: {type: smtp, host: x, from: a, pasword: hunter2-secret}}}}", r"from: .*pasword"),
        ("apps: {a: {connections: {c: {type: smtp, host: x, from: '@b.c'}}}}", r"from: .*desk@example\.org"),
    ],
)
def test_a_mistake_is_told_with_file_and_path_and_without_the_value(tmp_path: Path, text: str, told: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError, match=told) as refused:
        read_apps(file)
    assert str(refused.value).startswith(f"HEADRACE_APPS_FILE: {file}: ")
    assert SECRET not in str(refused.value)


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    document = {
        "secrets": {"K": SECRET},
        "connections": {
            "s": {"type": "sql", "url": f"postgresql://ann:{SECRET}@db/x"},
            "m": {"type": "smtp", "host": "h", "from": "a@b.c", "password": SECRET},
            "l": {"type": "llm", "base_url": "http://x", "api_key": SECRET},
        },
    }
    config = read_apps(write(tmp_path, yaml.safe_dump({"apps": {"a": document}})))["a"]
    assert SECRET not in repr(config)
    assert SECRET not in repr(config.connections)
    assert config.mask.text(f"at postgresql://ann:{SECRET}@db/x") == "at ***"
