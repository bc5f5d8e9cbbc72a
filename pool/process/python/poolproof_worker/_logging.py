"""The standard library's logging, sent to the host."""

from __future__ import annotations

import logging
import sys

from ._messages import HostGone, encode_lossy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._worker import Worker

LONGEST_MESSAGE = 32 << 10  # characters

# What every record has; the rest was given with extra.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class BridgeHandler(logging.Handler):
    """Sends records to the host. It never raises. Before hello, and in processes forked off,
    it writes them to standard error, which the host logs as well."""

    def __init__(self, worker: Worker, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, with its extra attributes and its traceback."""
        try:
            if not self._worker.notify("log", self._params(record)):
                print(self.format(record), file=sys.stderr)
        except HostGone:
            pass
        except Exception:  # noqa: BLE001 - a log line must not end what it tells of
            self.handleError(record)

    def _params(self, record: logging.LogRecord) -> dict[str, Any]:
        message = _text(record.getMessage())
        attributes = {key: _attribute(value) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info or record.exc_text or record.stack_info:
            attributes["traceback"] = _text(self._trace(record))
        params: dict[str, Any] = {"level": _level(record.levelno), "message": message, "logger": record.name}
        if attributes:
            params["attributes"] = attributes
        return params

    def _trace(self, record: logging.LogRecord) -> str:
        formatter = self.formatter or logging.Formatter()
        parts = []
        if record.exc_info and record.exc_info[0]:
            parts.append(formatter.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(formatter.formatStack(record.stack_info))
        return "\n".join(parts)


def _level(number: int) -> str:
    if number < logging.INFO:
        return "debug"
    if number < logging.WARNING:
        return "info"
    return "warning" if number < logging.ERROR else "error"


def _text(text: str) -> str:
    """Return a text that is valid and not too long to send."""
    text = text.encode(errors="backslashreplace").decode()
    if len(text) > LONGEST_MESSAGE:
        return f"{text[:LONGEST_MESSAGE]}... ({len(text) - LONGEST_MESSAGE} characters more)"
    return text


def _attribute(value: object) -> Any:
    """Return a value that is JSON."""
    try:
        if len(encode_lossy(value)) <= LONGEST_MESSAGE and not isinstance(value, str):
            return value
    except (TypeError, ValueError, RecursionError):
        pass
    return _text(str(value))
