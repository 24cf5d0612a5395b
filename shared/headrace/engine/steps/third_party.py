"""Steps of other packages: found through the entry-point group `headrace.steps`, at the first use of the table."""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from headrace.engine.steps.base import AwaitingStep, PureStep

GROUP = "headrace.steps"
"""The entry-point group. Each entry names an instance of a PureStep or AwaitingStep."""


class StepPackageError(Exception):
    """An installed package's entry in `headrace.steps` cannot be used; the message names it, why, and the way out."""


def installed() -> Iterable[EntryPoint]:
    """The entries of all installed packages, in a stable order."""
    return sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))


def with_third_party(
    ours: Mapping[str, PureStep | AwaitingStep], entries: Iterable[EntryPoint]
) -> dict[str, PureStep | AwaitingStep]:
    """`ours` and the steps that `entries` name, by the name in `use`.

    Raises StepPackageError for an entry that cannot be imported, is no step, or has a name that exists already.
    """
    table = dict(ours)
    for entry in entries:
        step = _load(entry)
        if step.use in table:
            raise StepPackageError(f"{_named(entry)}: there is a step {step.use!r} already; give it another `use`")
        table[step.use] = step
    return table


def _load(entry: EntryPoint) -> PureStep | AwaitingStep:
    try:
        found: object = entry.load()
    except Exception as error:
        raise StepPackageError(
            f"{_named(entry)} cannot be imported ({type(error).__name__}: {error}); mend or uninstall that package"
        ) from error
    if isinstance(found, PureStep | AwaitingStep):
        return found
    raise StepPackageError(
        f"{_named(entry)} is a {type(found).__name__}; expected an instance of a PureStep or an AwaitingStep"
    )


def _named(entry: EntryPoint) -> str:
    package = f" of {entry.dist.name}" if entry.dist is not None else ""
    return f"entry point {entry.name!r} ({entry.value}{package}) in group {GROUP!r}"
