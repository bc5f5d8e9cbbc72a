"""A small worker for trying out and testing a host: the methods of worker.Demo and
worker.Mischief in Go."""

from __future__ import annotations

import os
import time

from poolproof_worker import Chunk, MethodError, bridge_logging, check_cancelled, method, progress, run
from poolproof_worker import session as state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Union

hoard: list[bytes] = []
opened: list[int] = []


@method
def echo(*args: Any, **kwargs: Any) -> Any:
    """Return the params."""
    return list(args) if args else kwargs


@method(payload=True)
def raw_echo(payload: memoryview) -> memoryview:
    """Return the payload."""
    return payload


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


@method(cancellable=True)
def nap(seconds: float) -> bool:
    """Return after so many seconds, unless cancelled."""
    check_cancelled(within=seconds)
    return True


@method
def count(n: int, size: int = 0) -> Generator[Union[int, Chunk], None, int]:
    """Stream the numbers below n, each with a payload of so many bytes, and return n."""
    for i in range(n):
        yield Chunk(i, bytes(size)) if size else i
    return n


@method
def steps(n: int) -> int:
    """Report so many steps of progress, and return n."""
    for i in range(n):
        progress({"step": i})
    return n


@method
def fail(code: int, message: str) -> None:
    """Answer with an error."""
    raise MethodError(message, code)


@method
def log(level: str, message: str) -> bool:
    """Log a message at a level of the logging module."""
    import logging

    if not logging.getLogger().handlers:
        bridge_logging("DEBUG")
    logging.getLogger("demo").log(getattr(logging, level.upper()), message)
    return True


@method
def noise(bytes: int) -> bool:  # noqa: A002 - the name is the parameter's on the wire
    """Write so many bytes, which look like frames, to standard output and error each."""
    junk = b"\x00\x00\x00\x02{}\n" * (bytes // 7 + 1)
    for descriptor in (1, 2):
        rest = memoryview(junk)[:bytes]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return True


@method
def hog(bytes: int) -> int:  # noqa: A002
    """Fill so many more bytes of memory, and return how many are resident now."""
    hoard.append(b"\x01" * bytes)
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def failure(done: int, err: OSError) -> dict[str, Any]:
    """Return how far a method came before the kernel refused it more."""
    import errno

    return {"done": done, "error": errno.errorcode.get(err.errno or 0, str(err))}


@method
def exhaust(most: int) -> dict[str, Any]:
    """Open descriptors, and keep them, until that is refused or there are so many more."""
    for n in range(most):
        try:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as err:
            return failure(n, err)
    return {"done": most, "error": ""}


@method
def write_file(path: str, bytes: int) -> dict[str, Any]:  # noqa: A002
    """Write so many bytes to a new file. Python ignores SIGXFSZ, so a limit is an error."""
    done = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while done < bytes:
                done += file.write(b"\0" * (bytes - done))
    except OSError as err:
        return failure(done, err)
    return {"done": done, "error": ""}


@method
def spawn() -> int:
    """Start a process that sleeps for an hour, and return its ID."""
    return os.posix_spawnp("sleep", ["sleep", "3600"], os.environ)


@method
def crash(code: int = 1) -> None:
    """Exit in the middle of the call."""
    os._exit(code)


if __name__ == "__main__":
    run()
