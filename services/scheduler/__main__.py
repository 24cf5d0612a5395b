"""Runs the service: `headrace service scheduler`."""

from headrace.service import main
from services.scheduler.wiring import build

if __name__ == "__main__":
    main("scheduler", build)
