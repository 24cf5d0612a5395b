"""The messages on the topics and the automation document. No I/O: anything may import it."""
