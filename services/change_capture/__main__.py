"""Runs the service: `headrace service change_capture`."""

from headrace.service import main
from services.change_capture.wiring import build

if __name__ == "__main__":
    main("change_capture", build)
