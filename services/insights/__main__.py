"""Runs the service: `headrace service insights`."""

from headrace.service import main
from services.insights.wiring import build

if __name__ == "__main__":
    main("insights", build)
