"""Faults injected into a real stack under load, and a judge that looks at topics, MongoDB and a server's log only."""
