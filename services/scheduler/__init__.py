"""Reads timers, and when their time has come puts runs back on the jobs topics and ticks on theirs."""
