"""Authors' JavaScript: run in V8, in processes of their own, within limits."""
