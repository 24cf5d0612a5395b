"""Runs the service: `headrace service trigger_matcher`."""

from headrace.service import main
from services.trigger_matcher.wiring import build

if __name__ == "__main__":
    main("trigger_matcher", build)
