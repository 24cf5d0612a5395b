"""A package of third-party steps, written into a directory: what it takes to be found is a module and a dist-info."""

from pathlib import Path

DIE = "chaos.die"
PUBLISH = "chaos.publish_large"

EXIT_CODE = 70
"""Of a worker that the step ends at once: no other code of ours, nor Python's, is this one."""

MEMORY_LIMIT_BYTES = 512 << 20
"""Beyond this the step ends its worker as the kernel's killer would: a container has such a limit, this machine, which
others use too, must not be driven to it."""

_MODULE = f'''"""Steps of the chaos harness, found through the entry-point group headrace.steps."""

import os
import signal

from headrace.engine.run import Publication
from headrace.engine.steps.base import Inputs, PureStep


class DieInputs(Inputs):
    how: str = ""


class Die(PureStep):
    """Ends its worker: at once, or by taking memory until it is killed. With an empty `how` it does nothing."""

    use = "{DIE}"
    inputs = DieInputs
    outputs = {{}}
    effect = "none"

    def bind(self, rendered):
        how = DieInputs.model_validate(rendered).how

        def compute(run):
            if how == "exit":
                os._exit({EXIT_CODE})
            if how == "memory":
                taken = []
                while sum(map(len, taken)) < {MEMORY_LIMIT_BYTES}:
                    taken.append(b"x" * (32 << 20))
                os.kill(os.getpid(), signal.SIGKILL)
            return {{"success": True}}

        return compute


class LargeInputs(Inputs):
    bytes: int


class PublishLarge(PureStep):
    """Publishes that many bytes as one record; none for 0."""

    use = "{PUBLISH}"
    inputs = LargeInputs
    outputs = {{}}
    effect = "once"

    def bind(self, rendered):
        count = LargeInputs.model_validate(rendered).bytes

        def compute(run):
            if count:
                topic = run.ports.prefix + ".events"
                run.publications.append(Publication(topic, b"large", b"x" * count, []))
            return {{"success": True}}

        return compute


die = Die()
publish_large = PublishLarge()
'''

_ENTRIES = """[headrace.steps]
die = headrace_chaos_steps:die
publish_large = headrace_chaos_steps:publish_large
"""


def install(directory: Path) -> Path:
    """Writes the package into `directory`, which then belongs on PYTHONPATH; answers it."""
    info = directory / "headrace_chaos_steps-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (directory / "headrace_chaos_steps.py").write_text(_MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-chaos-steps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRIES)
    return directory
