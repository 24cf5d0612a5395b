"""Reads what transactions say of their runs, keeps counts of each automation, and stops crons that keep failing."""
