"""Runs the service: `headrace service recorder`."""

from headrace.service import main
from services.recorder.wiring import build

if __name__ == "__main__":
    main("recorder", build)
