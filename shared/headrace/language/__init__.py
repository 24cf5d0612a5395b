"""Templates and conditions: compiled once, rendered many times, hostile authors assumed. No I/O."""

from headrace.language.conditions import Condition, compile_condition
from headrace.language.errors import LanguageError, TemplateError, placed
from headrace.language.references import constant_truth, references
from headrace.language.row_filters import Comparison, Group, RowFilter, check_column, parse_row_filter
from headrace.language.scope import GROWING_ROOTS, RUN_ROOTS, TRIGGER_ROOTS, Scope
from headrace.language.templates import Guard, Template, Value, compile_template, compile_value

__all__ = [
    "GROWING_ROOTS",
    "RUN_ROOTS",
    "TRIGGER_ROOTS",
    "Comparison",
    "Condition",
    "Group",
    "Guard",
    "LanguageError",
    "RowFilter",
    "Scope",
    "Template",
    "TemplateError",
    "Value",
    "check_column",
    "compile_condition",
    "compile_template",
    "compile_value",
    "constant_truth",
    "parse_row_filter",
    "placed",
    "references",
]
