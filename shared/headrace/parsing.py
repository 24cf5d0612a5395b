"""The text of an automation file: its documents as JSON's kinds of value, and where each part stands.

YAML is read by version 1.2's core rules, so that a YAML document means what the same JSON document means: `on`, `012`
and `2026-01-31` are text, names are text, tags of other kinds are refused.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from json import JSONDecodeError, loads
from typing import Any, cast

import yaml

from headrace.contracts import limits
from headrace.syntax_mistakes import QUOTE_IT, Place, Unreadable, of_escape, of_json, of_yaml, place_of

MOST_NODES = 100_000
"""Values of a document, with what its aliases stand for written out: a document of the largest size that is accepted,
1 MB, hardly holds more, while ten lines of aliases in each other could stand for billions."""

MOST_CHARACTERS = 4 * limits.EVENT_BODY
"""Of the document's texts, counted likewise: above what is accepted, so that a document that is merely too large is
told its size, and low enough to be measured."""

MOST_DIGITS = 20
"""Of a whole number within 64 bits. Python refuses to read 4,301 digits, with an error that names no place."""

LONGEST_NAME = 1_000
"""Characters of a name: YAML's readers take 1,024, quotes and escapes included."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document, with the YAML nodes that know where each part stands."""

    value: object
    node: yaml.Node

    def place(self, path: str) -> Place:
        """Where the part at `path` (`steps.0.with.url`) stands, or else what is nearest around it."""
        return place_of(_mark(self.node, path))


def parse_yaml(text: str) -> list[Parsed]:
    """The documents of a YAML text, those that are empty left out; raises Unreadable."""
    return [each for each in _documents(text, lambda construct, node: construct(node)) if each.value is not None]


def parse_json(text: str) -> list[Parsed]:
    """The document of a JSON text; raises Unreadable."""
    try:
        value: object = loads(text, parse_int=_integer, object_pairs_hook=_object)
    except JSONDecodeError as error:
        raise of_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    _refuse_many(value)
    # The nodes only know its places.
    return _documents(text.translate(_READABLE), lambda construct, node: value)


def _refuse_many(value: object) -> None:
    """What JSON's reader has read in no time would take YAML's half a minute."""
    left, count = [value], 0
    while left:
        each = left.pop()
        count += 1
        if isinstance(each, dict):
            left.extend(cast("dict[str, object]", each).values())
        elif isinstance(each, list):
            left.extend(cast("list[object]", each))
    if count > MOST_NODES:
        raise Unreadable(f"more than {MOST_NODES} values; so many are accepted")


_ONLY_JSON = (*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFFFE, 0xFFFF)
_READABLE = {ord("\t"): ord(" "), **{code: 0xE000 + code % 0x1000 for code in _ONLY_JSON}}
"""What JSON takes as it is and YAML does not, each as a character for private use: columns stay, and names stay apart.
(Tabs are only white space: inside of a text JSON refuses them.)"""


def _documents(text: str, value_of: Callable[[Callable[[yaml.Node], object], yaml.Node], object]) -> list[Parsed]:
    loader: _Loader | None = None
    found: list[Parsed] = []
    try:
        loader = _Loader(text)
        construct = cast(Callable[[yaml.Node], object], cast(Any, loader).construct_document)  # has no types
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _measure(node)
                _settle(node, text)
                found.append(Parsed(value_of(construct, node), node))
    except yaml.YAMLError as error:
        raise of_yaml(error, text) from None
    except RecursionError:
        # Where the reader is: at the bracket or the indentation that was one too many.
        raise _too_deep(None if loader is None else Place(int(loader.line) + 1, int(loader.column) + 1)) from None
    except Unreadable:
        raise
    except (ValueError, OverflowError):
        raise of_escape(text) from None
    finally:
        if loader is not None:
            loader.dispose()
    return found


def _too_deep(place: Place | None = None) -> Unreadable:
    return Unreadable("nested too deeply to be read", place)


def _integer(digits: str) -> int:
    # Whatever is longer is beyond 64 bits, and refused for that wherever it stands.
    return int(digits[: MOST_DIGITS + 2])


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for name, _ in pairs:
        if len(name) > LONGEST_NAME:
            raise Unreadable(f"a name has {len(name)} characters; {LONGEST_NAME} are accepted")
    return dict(pairs)


_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
"""`<<`; what it brings in may well be overridden."""

_NATURAL = r"(?:0|[1-9][0-9]*)"
_SCALARS: dict[str, tuple[re.Pattern[str], list[str]]] = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(rf"^[-+]?{_NATURAL}$"), list("-+0123456789")),
    "float": (
        re.compile(rf"^[-+]?(?:{_NATURAL}?\.[0-9]+|{_NATURAL}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
    "str": (re.compile(""), []),
}
"""What YAML 1.2's core rules read without quotes, each with the characters it can begin with; all else is text."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core words and numbers: with those of 1.1 `on` is a boolean, `012` is ten and `1:30` is ninety.

    Stops at MOST_NODES: reading costs 100 µs a value, and a megabyte of empty lists took half a minute.
    """

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """PyYAML's; called for each value."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Unreadable(f"more than {MOST_NODES} values; so many are accepted")
        return cast("yaml.Node | None", cast(Any, super()).compose_node(parent, index))


def _whole_number(_: object, node: yaml.ScalarNode) -> int:
    return _integer(str(node.value))


def _prepare(loader: Any) -> None:  # PyYAML has no types for these
    loader.yaml_implicit_resolvers = {}
    loader.add_implicit_resolver(_MERGE, re.compile("^<<$"), ["<"])
    for kind, (pattern, first) in _SCALARS.items():
        if first:
            loader.add_implicit_resolver(_TAG + kind, pattern, first)
    loader.add_constructor(_TAG + "int", _whole_number)


_prepare(_Loader)


def _measure(root: yaml.Node) -> None:
    """Refuses what is too large once its aliases are written out, without writing them out."""
    sizes: dict[int, tuple[int, int]] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> tuple[int, int]:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in above:
            raise Unreadable("nested without end: an alias stands for what it is in", place_of(node.start_mark))
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
        raise Unreadable(f"{told}; {MOST_NODES} and {MOST_CHARACTERS} are accepted")


def _settle(root: yaml.Node, text: str) -> None:
    """Makes nodes mean what JSON means, each once; raises Unreadable for what has no such meaning."""
    seen, left = {id(root)}, [root]
    while left:
        node = left.pop()
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            node.value = _named(node, text)
            children = [value for _, value in _pairs(node)]
        elif isinstance(node, yaml.SequenceNode):
            children = list(_children(node))
        elif isinstance(node, yaml.ScalarNode):
            node.value = _whole(node)
        _check_tag(node)
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                left.append(child)


def _named(node: yaml.MappingNode, text: str) -> list[tuple[yaml.Node, yaml.Node]]:
    """A mapping's names, as text, with their values."""
    names: set[str] = set()
    found: list[tuple[yaml.Node, yaml.Node]] = []
    for key, value in _pairs(node):
        if not isinstance(key, yaml.ScalarNode):
            # `{{ x }}` without quotes is a mapping whose only name is a mapping.
            if text.startswith("{{", node.start_mark.index):
                raise Unreadable(QUOTE_IT, place_of(node.start_mark))
            raise Unreadable("a name is text, not a list or a mapping", place_of(key.start_mark))
        if key.tag == _MERGE:
            _check_merged(value)
            found.append((key, value))
            continue
        name = _whole(key)
        if name in names:
            # It may be another step's input, and YAML would silently keep the last.
            raise Unreadable(f"{name!r} is there twice", place_of(key.start_mark))
        names.add(name)
        # A new one: an alias may have put the node where it is a number.
        found.append((yaml.ScalarNode(_TAG + "str", name, key.start_mark, key.end_mark, key.style), value))
    return found


def _check_merged(value: yaml.Node) -> None:
    merged = _children(value) if isinstance(value, yaml.SequenceNode) else (value,)
    if not all(isinstance(each, yaml.MappingNode) for each in merged):
        raise Unreadable("`<<` takes a mapping, or a list of mappings; quote it as a name", place_of(value.start_mark))


def _check_tag(node: yaml.Node) -> None:
    if node.tag == _MERGE:
        node.tag = _TAG + "str"
    told = node.tag.replace(_TAG, "!!")
    if not isinstance(node, yaml.ScalarNode):
        if node.tag != _TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq"):
            raise Unreadable(f"the tag `{told}` has no meaning here; leave it out", place_of(node.start_mark))
        return
    kind = _SCALARS.get(node.tag.removeprefix(_TAG))
    if kind is None:
        raise Unreadable(f"the tag `{told}` has no meaning here; leave it out", place_of(node.start_mark))
    if not kind[0].search(node.value):
        raise Unreadable(f"this is no `{told}`; leave the tag out", place_of(node.start_mark))


def _whole(node: yaml.ScalarNode) -> str:
    """The text, with pairs of surrogates as the characters that they stand for: JSON escapes characters so."""
    text = str(node.value)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        told = (
            "half of a surrogate pair (\\ud800 to \\udfff) is no character; write both halves, or the character itself"
        )
        raise Unreadable(told, place_of(node.start_mark)) from None


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
