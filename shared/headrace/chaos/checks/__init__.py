"""The checks: each a small pure function from observations to what is wrong with them."""

from headrace.chaos.checks.violation import Finding, Violation

__all__ = ["Finding", "Violation"]
