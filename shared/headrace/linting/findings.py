"""What a rule finds, and the rules by id."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """One thing that a rule found: in which automation (its id) and where, what, and the way out."""

    rule: str
    severity: Severity
    automation: str
    path: str
    message: str
    remedy: str


class Rule(NamedTuple):
    """What a rule looks for. An error never does what its author means; a warning may be meant."""

    severity: Severity
    about: str


RULES: Mapping[str, Rule] = {
    "unknown-step": Rule("error", "a template names a step that does not exist"),
    "unknown-output": Rule("error", "a template names an output that the step does not have"),
    "not-before": Rule("error", "a template names a step that is not done before this one"),
    "other-branch": Rule("error", "a template names a step of another branch, or of a list done beside this one"),
    "same-name": Rule("warning", "two steps have one name, by which templates see only the one done last"),
    "outside-loop": Rule("error", "a template outside of any loop names `loop`, `item` or `item_index`"),
    "unknown-member": Rule("error", "a template names what the automation's trigger, or its loop, does not hold"),
    "unreachable-branch": Rule("warning", "a branch that is never taken: its condition, or one before it, is constant"),
    "unreachable-step": Rule("warning", "a step that is never done: the run ends before it, or its condition is false"),
    "unbounded-loop": Rule("warning", "a loop in which the data alone decide how many calls are made to others"),
    "plain-secret": Rule("error", "a credential in plain text"),
    "unknown-automation": Rule("warning", "a call to an automation that none of several files defines"),
    "not-callable": Rule("error", "a call to an automation that has another trigger than a manual one"),
    "wrong-fields": Rule("error", "a call gives other fields than the called automation takes"),
    "cycle": Rule("error", "automations that start each other without end (a warning where a condition may end it)"),
    "unkeyed-call": Rule("warning", "a call that may be made twice, to a receiver that may not know it again"),
    "no-journal": Rule("warning", "a waiting step of another package, made anew each time, as nothing is journaled"),
    "constant-key": Rule("error", "the same Idempotency-Key for every run: all calls but the first may be dropped"),
}
"""By id, as findings name them."""
