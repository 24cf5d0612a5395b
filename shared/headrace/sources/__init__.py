"""Topics that others write, read as events: which topic is whose, and what its records mean. docs/sources.md."""

from headrace.sources.decoding import Decoded, Passed, Sources
from headrace.sources.file import load_sources, read_sources

__all__ = ["Decoded", "Passed", "Sources", "load_sources", "read_sources"]
