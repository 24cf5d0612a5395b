"""Reads the sources file. `HEADRACE_SOURCES_FILE` names it; docs/sources.md explains it."""

from pathlib import Path

from headrace.contracts.topics import REPLAY
from headrace.installation import topics
from headrace.operator_files import read_operator_file, wrong_file
from headrace.settings import Settings
from headrace.sources.decoding import Sources
from headrace.sources.model import SourcesFile
from headrace.sources.patterns import matches
from headrace.sources.registry import decoder_of

SETTING = "HEADRACE_SOURCES_FILE"


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
            raise wrong_file(SETTING, path, f"sources.{number}.topic: {name} is {taken[0]}, a topic of Headrace's own")
    try:
        return Sources(file, decoder_of(file), REPLAY.full_name(settings.prefix))
    except ImportError as error:
        raise wrong_file(
            SETTING,
            path,
            f"registry: {error.name} is not installed; `pip install 'headrace[registry]'` brings all it needs",
        ) from None


def read_sources(path: Path) -> SourcesFile:
    """The file at `path`; raises SettingsError, whose message quotes no value."""
    return read_operator_file(SETTING, path, SourcesFile)
