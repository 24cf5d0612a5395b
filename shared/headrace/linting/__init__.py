"""What is wrong with automations that are valid: rules over parsed documents, pure functions all."""

from headrace.linting.findings import RULES, Finding, Severity
from headrace.linting.rules import lint

__all__ = ["RULES", "Finding", "Severity", "lint"]
