"""Templates and conditions: compiled once, rendered many times, hostile authors assumed. No I/O."""

from headrace.language.conditions import Condition, compile_condition
from headrace.language.errors import LanguageError, TemplateError
from headrace.language.row_filters import Comparison, Group, RowFilter, check_column, parse_row_filter
from headrace.language.scope import RUN_ROOTS, TRIGGER_ROOTS, Scope
from headrace.language.templates import Template, Value, compile_template, compile_value

__all__ = [
    "RUN_ROOTS",
    "TRIGGER_ROOTS",
    "Comparison",
    "Condition",
    "Group",
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
    "parse_row_filter",
]
