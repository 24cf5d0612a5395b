"""Templates and conditions: compiled once, rendered many times, hostile authors assumed. No I/O."""

from headrace.language.conditions import Condition, compile_condition
from headrace.language.errors import LanguageError, TemplateError, placed
from headrace.language.references import constant_truth, references
from headrace.language.scope import RUN_ROOTS, TRIGGER_ROOTS, Scope
from headrace.language.templates import Guard, Template, Value, compile_template, compile_value

__all__ = [
    "RUN_ROOTS",
    "TRIGGER_ROOTS",
    "Condition",
    "Guard",
    "LanguageError",
    "Scope",
    "Template",
    "TemplateError",
    "Value",
    "compile_condition",
    "compile_template",
    "compile_value",
    "constant_truth",
    "placed",
    "references",
]
