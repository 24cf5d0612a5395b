"""`apply`, `automations list`, `automations show`."""

import getpass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from headrace import applying
from headrace.cli.output import Json, connected_settings, print_json, print_table, with_storage
from headrace.contracts.automation import Automation, DocumentError, parse_automation
from headrace.language import LanguageError

app = typer.Typer(help="The automations that are live.", no_args_is_help=True)

SUFFIXES = (".yaml", ".yml", ".json")


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A YAML or JSON file, or a directory of them.")],
    as_json: Json = False,
) -> None:
    """Save automations and make them live; returns when every matcher has them. The same file again changes nothing."""
    documents = read_automations(file)
    settings = connected_settings()
    by = getpass.getuser()
    saved = with_storage(settings, lambda storage: applying.apply(settings, storage, documents, by))
    rows = [(each.live.document.id, each.live.version, "new" if each.changed else "unchanged") for each in saved]
    if as_json:
        print_json([dict(zip(("automation", "version", "change"), row, strict=True)) for row in rows])
    else:
        print_table(("automation", "version", ""), rows)


def read_automations(path: Path) -> list[Automation]:
    """The automations in a file (several YAML documents are allowed) or a directory; raises DocumentError, OSError."""
    if not path.exists():
        raise DocumentError(f"{path}: no such file or directory")
    files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
    found = [automation for each in files for automation in _read_file(each)]
    if not found:
        raise DocumentError(f"{path}: no automation found (files ending in {', '.join(SUFFIXES)})")
    ids = [automation.id for automation in found]
    for twice in {each for each in ids if ids.count(each) > 1}:
        raise DocumentError(f"{path}: {twice} is there twice")
    return found


def _read_file(file: Path) -> list[Automation]:
    try:
        text = file.read_text()
        # A SafeLoader that refuses more.
        documents = cast(list[object], list(yaml.load_all(text, Loader=_Loader)))
    except (yaml.YAMLError, DocumentError) as error:
        raise DocumentError(f"{file}: {error}") from None
    except RecursionError:
        raise DocumentError(f"{file}: nested too deeply to be read") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file}: not UTF-8 ({error.reason})") from None
    try:
        found = [parse_automation(document) for document in documents if document is not None]
        for automation in found:
            applying.check(automation)
    except (DocumentError, LanguageError) as error:
        raise DocumentError(f"{file}: {error}") from None
    return found


class _Loader(yaml.SafeLoader):
    """Refuses a mapping's key that is there twice: of two steps' inputs YAML would silently keep the last."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """The mapping as it is written, before `<<` brings anything in; raises DocumentError."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name = (key.tag, key.value)
            if name in seen:
                mark = key.start_mark
                raise DocumentError(f"line {mark.line + 1}, column {mark.column + 1}: {key.value!r} is there twice")
            seen.add(name)
        return node


_MERGE = "tag:yaml.org,2002:merge"
"""`<<`; what it brings in may well be overridden."""


@app.command("list")
def list_automations(app_name: Annotated[str | None, typer.Option("--app")] = None, as_json: Json = False) -> None:
    """All live automations."""
    found = with_storage(connected_settings(), lambda storage: storage.automations.all(app_name))
    rows = [
        (each.document.id, each.version, each.state, each.document.trigger.type, each.document.priority, each.by)
        for each in found
    ]
    names = ("automation", "version", "state", "trigger", "priority", "by")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(names, rows)


@app.command("show")
def show(automation: Annotated[str, typer.Argument(help="app/name")], as_json: Json = False) -> None:
    """One automation's live document and state."""
    found = with_storage(connected_settings(), lambda storage: storage.automations.live(automation))
    if found is None:
        raise DocumentError(f"no automation {automation!r}; `headrace automations list` shows all")
    content = found.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if as_json:
        print_json(content)
    else:
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")
