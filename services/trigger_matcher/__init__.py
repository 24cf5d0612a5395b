"""Reads events, finds the automations each triggers, and makes their jobs."""
