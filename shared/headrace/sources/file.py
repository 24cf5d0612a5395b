"""Reads the sources file. `HEADRACE_SOURCES_FILE` names it; docs/sources.md explains it."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from headrace.contracts.topics import REPLAY
from headrace.contracts.validation import explain
from headrace.installation import topics
from headrace.settings import Settings, SettingsError
from headrace.sources.decoding import Sources
from headrace.sources.model import SourcesFile
from headrace.sources.patterns import matches
from headrace.sources.registry import decoder_of


def load_sources(settings: Settings) -> Sources | None:
    """What is configured; None where no file is set. Raises SettingsError that names the file and the path in it."""
    if settings.sources_file is None:
        return None
    return open_sources(settings, settings.sources_file)


def open_sources(settings: Settings, path: Path) -> Sources:
    """The sources of the file at `path`; raises SettingsError."""
    file = read_sources(path)
    own = [topic.full_name(settings.prefix) for topic in topics(settings)]
    for number, source in enumerate(file.sources):
        name = source.topic
        taken = [each for each in own if each == name or matches(name, each)]
        if taken:
            raise _wrong(path, f"sources.{number}.topic: {name} is {taken[0]}, a topic of Headrace's own")
    try:
        return Sources(file, decoder_of(file), REPLAY.full_name(settings.prefix))
    except ImportError as error:
        raise _wrong(
            path, f"registry: {error.name} is not installed; `pip install 'headrace[registry]'` brings all it needs"
        ) from None


def read_sources(path: Path) -> SourcesFile:
    """The file at `path`; raises SettingsError, whose message quotes no value."""
    try:
        document: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _wrong(path, "is no text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise _wrong(path, f"is no YAML{place}") from None
    try:
        return SourcesFile.model_validate(document, context={"directory": path.parent})
    except ValidationError as error:
        raise _wrong(path, explain(error, "", document)[1].removeprefix(": ")) from None


def _wrong(path: Path, why: str) -> SettingsError:
    return SettingsError(f"HEADRACE_SOURCES_FILE: {path}: {why}")
