"""Automation files: read with the place of every part, checked, and refused with file, line and column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from headrace.contracts import limits
from headrace.contracts.automation import (
    Automation,
    DocumentError,
    LiveAutomation,
    Mistake,
    parse_automation,
    sound_parts,
)
from headrace.engine import compile_plan
from headrace.language import placed
from headrace.matching import refusals, wrong_defaults
from headrace.parsing import Parsed, parse_json, parse_yaml
from headrace.syntax_mistakes import Place, Unreadable, of_bytes

SUFFIXES = (".yaml", ".yml", ".json")


class Located(NamedTuple):
    """A mistake with its place, and that of the part it refers to; `str()` is as compilers print and editors follow."""

    file: Path
    place: Place | None
    mistake: Mistake
    first: Place | None = None

    @property
    def message(self) -> str:
        """What is wrong, without the place and the path."""
        return self.mistake.message + ("" if self.first is None else f" (line {self.first.line})")

    def __str__(self) -> str:
        place = "" if self.place is None else f":{self.place.line}:{self.place.column}"
        path = f"{self.mistake.path}: " if self.mistake.path else ""
        return f"{self.file}{place}: {path}{self.message}"


class WrongFiles(DocumentError):
    """Files hold something that is no automation, or one that cannot run; `located` are all mistakes of all files."""

    def __init__(self, *located: Located) -> None:
        super().__init__(*(each.mistake for each in located))
        self.located = located

    def __str__(self) -> str:
        return "\n".join(map(str, self.located))


@dataclass(frozen=True, slots=True)
class Source:
    """One document of a file as it was parsed."""

    file: Path
    parsed: Parsed

    @property
    def value(self) -> object:
        """What it holds, unchecked."""
        return self.parsed.value

    def place(self, path: str) -> Place:
        """Where the part at `path` (`steps.0.with.url`) stands, or else what is nearest around it."""
        return self.parsed.place(path)

    def located(self, mistake: Mistake) -> Located:
        """The mistake with its place."""
        first = self.place(mistake.first) if mistake.first else None
        return Located(self.file, self.place(mistake.path), mistake, first)


class Loaded(NamedTuple):
    """An automation, and where it was read."""

    automation: Automation
    source: Source


def load(*paths: Path) -> list[Loaded]:
    """The automations in files and directories, each fit to run, and no two the same.

    Raises WrongFiles with the mistakes of all files, DocumentError where there is none, OSError.
    """
    found, wrong = load_sound(*paths)
    if wrong:
        raise WrongFiles(*wrong)
    return found


def load_sound(*paths: Path) -> tuple[list[Loaded], list[Located]]:
    """The automations that are fit to run, and all mistakes of the others; raises DocumentError where there is neither,
    OSError."""
    found: list[Loaded] = []
    wrong: list[Located] = []
    for file in files_in(paths):
        try:
            sources = read(file)
        except WrongFiles as error:
            wrong += error.located
            continue
        for source in sources:
            try:
                found.append(Loaded(checked(source.value), source))
            except DocumentError as error:
                wrong += sorted(map(source.located, error.mistakes), key=lambda each: each.place or Place(0, 0))
    if not found and not wrong:
        named = ", ".join(map(str, paths))
        raise DocumentError(f"{named}: no automation found (files ending in {', '.join(SUFFIXES)})")
    first: dict[str, Loaded] = {}
    for each in found:
        earlier = first.setdefault(each.automation.id, each).source
        if earlier is not each.source:
            place = f"{earlier.file}:{earlier.place('name').line}"
            wrong.append(each.source.located(Mistake("name", f"{each.automation.id} is there twice, also at {place}")))
    return list(first.values()), wrong


def checked(document: object) -> Automation:
    """The automation in a parsed document; raises DocumentError with all mistakes that can be known at once."""
    try:
        automation = parse_automation(document)
    except DocumentError as error:
        raise DocumentError(*error.mistakes, *_beside(document, error.mistakes)) from None
    check(automation)
    return automation


def _beside(document: object, known: Sequence[Mistake]) -> Iterator[Mistake]:
    """Mistakes in what can be compiled of a document that is not well shaped."""
    if not isinstance(document, Mapping):
        return
    sound = sound_parts(cast("Mapping[str, object]", document))
    if sound is None:
        return
    told = {each.path for each in known}
    for mistake in _compiled(sound.automation):
        path = sound.path(mistake.path)
        if path not in told:
            yield mistake._replace(path=path)


def check(automation: Automation) -> None:
    """Refuses now what could not run, or not be published, later; raises DocumentError."""
    mistakes = list(_compiled(automation))
    if mistakes:
        raise DocumentError(*mistakes)
    size = len(encoded(LiveAutomation(format=1, revision=0, version=0, state="enabled", document=automation)))
    if size > limits.EVENT_BODY:
        raise DocumentError(f"{automation.id}: the document has {size} bytes; {limits.EVENT_BODY} are accepted")


def _compiled(automation: Automation) -> Iterator[Mistake]:
    try:
        compile_plan(automation, 0)
    except DocumentError as error:
        yield from error.mistakes
    yield from (
        Mistake(each.path, placed(each)) for each in (*refusals(automation), *wrong_defaults(automation.fields))
    )


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
        text = file.read_text(encoding="utf-8-sig")
        parsed = parse_json(text) if file.suffix == ".json" else parse_yaml(text)
    except UnicodeDecodeError as error:
        raise _wrong(file, of_bytes(error)) from None
    except Unreadable as error:
        raise _wrong(file, error) from None
    return [Source(file, each) for each in parsed]


def _wrong(file: Path, error: Unreadable) -> WrongFiles:
    return WrongFiles(Located(file, error.place, Mistake("", error.message)))
