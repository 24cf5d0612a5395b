"""Runs the service: `headrace service orchestrator`."""

from headrace.service import main
from services.orchestrator.wiring import build

if __name__ == "__main__":
    main("orchestrator", build)
