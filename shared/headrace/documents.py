"""Automation files: read with the place of every part, checked, and refused with file, line and column."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from pydantic_core import PydanticSerializationError

from headrace.contracts import limits
from headrace.contracts.automation import Automation, DocumentError, LiveAutomation, Mistake, parse_automation
from headrace.engine import compile_plan
from headrace.language import LanguageError, placed
from headrace.matching import compile_definition

SUFFIXES = (".yaml", ".yml", ".json")

MOST_NODES = 100_000
"""Values of a document, with what its aliases stand for written out: a document of the largest size that is accepted,
1 MB, hardly holds more, while ten lines of aliases in each other could stand for billions."""

MOST_CHARACTERS = 4 * limits.EVENT_BODY
"""Of the document's texts, counted likewise: above what is accepted, so that a document that is merely too large is
told its size, and low enough to be measured."""

_MERGE = "tag:yaml.org,2002:merge"
"""`<<`; what it brings in may well be overridden."""


class Place(NamedTuple):
    """A line and a column of a file, from 1."""

    line: int
    column: int


class Located(NamedTuple):
    """A mistake with its place; `str()` is what compilers print, and editors follow."""

    file: Path
    place: Place | None
    mistake: Mistake

    def __str__(self) -> str:
        place = "" if self.place is None else f":{self.place.line}:{self.place.column}"
        return f"{self.file}{place}: {self.mistake}"


class WrongFiles(DocumentError):
    """Files hold something that is no automation, or one that cannot run; `located` are all mistakes of all files."""

    def __init__(self, *located: Located) -> None:
        super().__init__(*(each.mistake for each in located))
        self.located = located

    def __str__(self) -> str:
        return "\n".join(map(str, self.located))


@dataclass(frozen=True, slots=True)
class Source:
    """One document of a file as it was parsed, with the YAML nodes that know where each part stands."""

    file: Path
    value: object
    node: yaml.Node

    def place(self, path: str) -> Place:
        """Where the part at `path` (`steps.0.with.url`) stands, or else what is nearest around it."""
        mark = _mark(self.node, path)
        return Place(mark.line + 1, mark.column + 1)

    def located(self, mistake: Mistake) -> Located:
        """The mistake with its place."""
        return Located(self.file, self.place(mistake.path), mistake)


class Loaded(NamedTuple):
    """An automation, and where it was read."""

    automation: Automation
    source: Source


def load(*paths: Path) -> list[Loaded]:
    """The automations in files and directories, each fit to run.

    Raises WrongFiles with the mistakes of all files, DocumentError where there is none, OSError.
    """
    found: list[Loaded] = []
    wrong: list[Located] = []
    for file in files_in(paths):
        loaded, mistakes = load_file(file)
        found += loaded
        wrong += mistakes
    if wrong:
        raise WrongFiles(*wrong)
    if not found:
        named = ", ".join(map(str, paths))
        raise DocumentError(f"{named}: no automation found (files ending in {', '.join(SUFFIXES)})")
    return found


def load_file(file: Path) -> tuple[list[Loaded], list[Located]]:
    """The automations of one file that are fit to run, and the mistakes of those that are not; raises OSError."""
    found: list[Loaded] = []
    wrong: list[Located] = []
    try:
        sources = read(file)
    except WrongFiles as error:
        return found, list(error.located)
    for source in sources:
        try:
            automation = parse_automation(source.value)
            check(automation)
            found.append(Loaded(automation, source))
        except DocumentError as error:
            wrong += map(source.located, error.mistakes)
        except LanguageError as error:
            wrong.append(source.located(Mistake(error.path, placed(error))))
    return found, wrong


def check(automation: Automation) -> None:
    """Refuses now what could not run, or not be published, later; raises LanguageError, DocumentError."""
    live = LiveAutomation(format=1, revision=0, version=0, state="enabled", document=automation)
    try:
        compile_plan(automation, 0)
        compile_definition(live)
        size = len(encoded(live))
    except (RecursionError, PydanticSerializationError):
        raise DocumentError(f"{automation.id}: the document is nested too deeply") from None
    if size > limits.EVENT_BODY:
        raise DocumentError(f"{automation.id}: the document has {size} bytes; {limits.EVENT_BODY} are accepted")


def encoded(live: LiveAutomation) -> bytes:
    """As it stands on the topic of automations."""
    return live.model_dump_json(by_alias=True, exclude_defaults=True).encode()


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those in directories named, at any depth but in hidden ones; raises DocumentError."""
    for path in paths:
        if not path.exists():
            raise DocumentError(f"{path}: no such file or directory")
        if not path.is_dir():
            yield path
            continue
        inside = (each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
        yield from sorted(each for each in inside if not _is_hidden(each.relative_to(path)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read(file: Path) -> list[Source]:
    """The documents of a YAML or JSON file, unchecked; raises WrongFiles, OSError."""
    try:
        return _parsed(file, file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _wrong(file, f"not UTF-8 ({error.reason})") from None
    except RecursionError:
        raise _wrong(file, "nested too deeply to be read") from None
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(each for each in (error.context, error.problem) if each)
        raise _wrong(file, f"not YAML: {problem}", error.problem_mark or error.context_mark) from None
    except (yaml.YAMLError, JSONDecodeError) as error:
        raise _wrong(file, f"cannot be read: {error}") from None
    except WrongFiles:
        raise
    except (ValueError, OverflowError) as error:
        # A date that does not exist, a number of too many digits: PyYAML lets Python's own errors out.
        raise _wrong(file, f"cannot be read: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core words and numbers: with those of 1.1 `on` is a boolean, `012` is ten and `1:30` is ninety."""


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in ("bool", "int", "float")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NATURAL = r"(?:0|[1-9][0-9]*)"
for _kind, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", rf"^[-+]?{_NATURAL}$", "-+0123456789"),
    ("float", rf"^[-+]?(?:{_NATURAL}?\.[0-9]+|{_NATURAL}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    cast(Any, _Loader).add_implicit_resolver(_TAG + _kind, re.compile(_pattern), list(_first))


def _parsed(file: Path, text: str) -> list[Source]:
    is_json = file.suffix == ".json"
    # A JSON file's nodes only know its places. Tabs are white space there, and stand in no text.
    loader = _Loader(text.replace("\t", " ") if is_json else text)
    construct = cast(Callable[[yaml.Node], object], cast(Any, loader).construct_document)  # has no types
    try:
        sources: list[Source] = []
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                continue
            _measure(file, node)
            _refuse_twice(file, node)
            value = cast(object, loads(text) if is_json else construct(node))
            if value is not None:
                sources.append(Source(file, value, node))
        return sources
    finally:
        loader.dispose()


def _measure(file: Path, root: yaml.Node) -> None:
    """Refuses what is too large once its aliases are written out, without writing them out."""
    sizes: dict[int, tuple[int, int]] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> tuple[int, int]:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in above:
            raise _wrong(file, "nested without end: an alias stands for what it is in", node.start_mark)
        above.add(id(node))
        nodes, characters = 1, len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        for child in _children(node):
            more, text = size(child)
            nodes, characters = nodes + more, characters + text
        above.remove(id(node))
        sizes[id(node)] = nodes, characters
        return nodes, characters

    nodes, characters = size(root)
    if nodes > MOST_NODES or characters > MOST_CHARACTERS:
        told = f"{nodes} values with {characters} characters, those that aliases stand for included"
        raise _wrong(file, f"{told}; {MOST_NODES} and {MOST_CHARACTERS} are accepted")


def _refuse_twice(file: Path, root: yaml.Node) -> None:
    """Of a mapping's key that is there twice, which may be another step's input, YAML would silently keep the last."""
    seen, left = {id(root)}, [root]
    while left:
        node = left.pop()
        keys: set[tuple[str, str]] = set()
        for key, _ in _pairs(node):
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                name = (key.tag, str(key.value))
                if name in keys:
                    raise _wrong(file, f"{key.value!r} is there twice", key.start_mark)
                keys.add(name)
        for child in _children(node):
            if id(child) not in seen:
                seen.add(id(child))
                left.append(child)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for key, value in _pairs(node):
        yield key
        yield value
    if isinstance(node, yaml.SequenceNode):
        yield from cast("list[yaml.Node]", node.value)


def _pairs(node: yaml.Node) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    return cast("list[tuple[yaml.Node, yaml.Node]]", node.value) if isinstance(node, yaml.MappingNode) else ()


def _mark(node: yaml.Node, path: str) -> yaml.Mark:
    """Of the key where the part has one. Names may hold dots: whichever key the path begins with is followed."""
    mark = node.start_mark
    while path:
        found = next(_followed(node, path), None)
        if found is None:
            break
        mark, node, path = found
    return mark


def _followed(node: yaml.Node, path: str) -> Iterator[tuple[yaml.Mark, yaml.Node, str]]:
    if isinstance(node, yaml.SequenceNode):
        number, _, rest = path.partition(".")
        items = cast("list[yaml.Node]", node.value)
        if number.isdecimal() and int(number) < len(items):
            yield items[int(number)].start_mark, items[int(number)], rest
    for key, value in _pairs(node):
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        if name and (path == name or path.startswith(f"{name}.")):
            yield key.start_mark, value, path[len(name) + 1 :]


def _wrong(file: Path, message: str, mark: yaml.Mark | None = None) -> WrongFiles:
    place = None if mark is None else Place(mark.line + 1, mark.column + 1)
    return WrongFiles(Located(file, place, Mistake("", message)))
