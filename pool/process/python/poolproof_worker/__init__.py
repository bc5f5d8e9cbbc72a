"""The worker's side of docs/protocol.md, for Python 3.9 and later, on the standard library.

    from poolproof_worker import method, run, session

    @method
    def put(session_id: str, key: str, value: object) -> bool:
        session(session_id)[key] = value
        return True

    if __name__ == "__main__":
        run()

Import it first: importing it claims the channel that the host handed over, after which
anything that is printed becomes a log line of the host and cannot shift a frame.

Methods run one at a time on the thread that called run(). A params object becomes keyword
arguments, a params array positional ones. An exception becomes an error reply with a
traceback, and the worker goes on; SystemExit ends it.
"""

from __future__ import annotations

from ._messages import Cancelled, Chunk, MethodError, Result
from ._worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from typing import Union

__all__ = [
    "Cancelled",
    "Chunk",
    "MethodError",
    "Result",
    "Worker",
    "bridge_logging",
    "cancelled",
    "check_cancelled",
    "logging_handler",
    "method",
    "notify",
    "on_session_ended",
    "on_start",
    "on_stop",
    "progress",
    "run",
    "session",
]

_default = Worker()
method = _default.method
on_session_ended = _default.on_session_ended
on_start = _default.on_start
on_stop = _default.on_stop
session = _default.session
cancelled = _default.cancelled
check_cancelled = _default.check_cancelled
progress = _default.progress
notify = _default.notify
run = _default.run


def logging_handler(level: int = 0) -> logging.Handler:
    """Return a handler that sends log records to the host, for use from any thread."""
    from ._logging import BridgeHandler  # late: not every worker logs

    return BridgeHandler(_default, level)


def bridge_logging(level: Union[int, str] = "INFO") -> None:
    """Have everything that is logged, from a level on, sent to the host: gives the root logger
    that level and a logging_handler."""
    import logging

    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(logging_handler())
