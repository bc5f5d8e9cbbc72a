"""A small worker for trying out and testing a host: the methods of worker.Demo in Go."""

from __future__ import annotations

import os
import time

from poolproof_worker import method, run
from poolproof_worker import session as state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@method
def pid() -> int:
    """Return the process's ID."""
    return os.getpid()


@method
def put(session: str, key: str, value: Any = None) -> bool:
    """Store a value under a session and a key."""
    state(session)[key] = value
    return True


@method
def get(session: str, key: str) -> Any:
    """Return the value stored under a session and a key, or null."""
    return state(session).get(key)


@method
def sleep(seconds: float) -> bool:
    """Return after so many seconds."""
    time.sleep(seconds)
    return True


@method
def crash(code: int = 1) -> None:
    """Exit in the middle of the call."""
    os._exit(code)


if __name__ == "__main__":
    run()
