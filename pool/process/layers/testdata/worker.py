"""The demo worker with more ways for a stream to go: the Python side of methods in Go."""

from __future__ import annotations

import os

import demo

from poolproof_worker import MethodError, method, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


@method
def falter(n: int, code: int) -> Generator[int, None, None]:
    """Stream the numbers below n, then fail."""
    yield from range(n)
    raise MethodError("faltered", code)


@method
def die(n: int, code: int) -> Generator[int, None, None]:
    """Stream the numbers below n, then exit."""
    yield from range(n)
    os._exit(code)


@method
def narrate(n: int) -> Generator[int, None, int]:
    """Stream the numbers below n, and log each one before."""
    for i in range(n):
        demo.log("info", f"chunk {i}")
        yield i
    return n


if __name__ == "__main__":
    run()
