"""Files of an operator, named by a setting: YAML, held to a model."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from headrace.contracts.validation import explain
from headrace.settings import SettingsError

_ModelT = TypeVar("_ModelT", bound=BaseModel)


def read_operator_file(setting: str, path: Path, model: type[_ModelT]) -> _ModelT:
    """The file at `path`; relative paths in it are of its own directory (the context's `directory`).

    Raises SettingsError that names the setting, the file, the path in it and what is expected there; it quotes no
    value.
    """
    try:
        document: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise wrong_file(setting, path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise wrong_file(setting, path, "is no text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise wrong_file(setting, path, f"is no YAML{place}") from None
    try:
        return model.model_validate(document, context={"directory": path.parent})
    except ValidationError as error:
        raise wrong_file(setting, path, explain(error, "", document)[1].removeprefix(": ")) from None


def wrong_file(setting: str, path: Path, why: str) -> SettingsError:
    """The error about a file that cannot be used."""
    return SettingsError(f"{setting}: {path}: {why}")
