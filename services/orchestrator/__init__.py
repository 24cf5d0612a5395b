"""Reads jobs, executes their automations, and leaves one run record for each."""
