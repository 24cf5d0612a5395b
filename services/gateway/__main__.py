"""Runs the service: `headrace service gateway`."""

from headrace.service import main
from services.gateway.wiring import build

if __name__ == "__main__":
    main("gateway", build)
