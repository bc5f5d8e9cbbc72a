"""The worker's side of docs/protocol.md, for Python 3.9 and later.

This one file needs the standard library alone. A worker is a program like this:

    from poolproof_worker import method, run, session

    @method
    def put(session_id: str, key: str, value: object) -> bool:
        session(session_id)[key] = value
        return True

    run()

Import it first: importing it claims the channel that the host handed over, after which
anything that is printed becomes a log line of the host and cannot shift a frame.

Methods run one at a time on the thread that called run(). A params object becomes
keyword arguments, a params array positional ones. An exception becomes an error reply
with a traceback, and the worker goes on; SystemExit ends it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, Optional

__all__ = ["MethodError", "Worker", "method", "run", "session"]

PROTOCOL_VERSION = 1
DEFAULT_FRAME_LIMIT = 16 << 20

INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
FAILED = -32000
TOO_LARGE = -32001
NO_HELLO = -32002


class MethodError(Exception):
    """An error reply with a code and data of the method's choice."""

    def __init__(self, message: str, code: int = FAILED, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class FramingError(Exception):
    """The host's frames make no sense; the worker cannot go on."""


def _claim() -> Optional[tuple[int, int]]:
    """Take the channel's descriptors away from everyone else in this process and from
    the processes that it starts. Returns None if no host started this process."""
    spec = os.environ.pop("POOLPROOF_CHANNEL", "")
    if not spec:
        return None
    given = [int(number) for number in spec.split(",")]
    claimed = (os.dup(given[0]), os.dup(given[1]))  # not inherited by programs
    null = os.open(os.devnull, os.O_RDWR)
    for number in given:
        if number > 2:
            os.close(number)
    os.dup2(null, 0)
    os.dup2(2, 1)

    def release() -> None:
        for number in claimed:
            os.dup2(null, number, inheritable=False)

    os.register_at_fork(after_in_child=release)
    return claimed


_CHANNEL = _claim()


def read_frame(source: BinaryIO, limit: int) -> Optional[bytes]:
    """Return the next frame's body, or None at the end of file between frames. The
    length is checked before memory is allocated for it."""
    header = source.read(4)
    if not header:
        return None
    if len(header) < 4:
        raise FramingError("end of file inside a frame's header")
    (length,) = struct.unpack(">I", header)
    if length > limit:
        raise FramingError(f"a frame of {length} bytes exceeds the limit of {limit}")
    body = source.read(length)
    if len(body) < length:
        raise FramingError(f"end of file after {len(body)} of {length} bytes of a frame")
    return body


def write_frame(descriptor: int, body: bytes) -> None:
    """Write one frame to a descriptor."""
    rest = memoryview(struct.pack(">I", len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Worker:
    """Methods, and the state of the sessions that they keep."""

    def __init__(self) -> None:
        self._methods: dict[str, Callable[..., Any]] = {"session_ended": self._end_session}
        self._sessions: dict[str, dict[Any, Any]] = {}
        self._instance = os.urandom(16).hex()
        self._limit = DEFAULT_FRAME_LIMIT
        self._greeted = False

    def method(self, function: Callable[..., Any], name: Optional[str] = None) -> Callable[..., Any]:
        """Serve function under its own or another name. Works as a decorator."""
        name = name or function.__name__
        if name in ("hello", "ping", "session_ended"):
            raise ValueError(f"method name {name!r} is reserved")
        self._methods[name] = function
        return function

    def session(self, name: str) -> dict[Any, Any]:
        """Return the session's state, which is new after the session has ended."""
        return self._sessions.setdefault(name, {})

    def run(self) -> None:
        """Answer calls until the host closes the channel; SIGTERM raises SystemExit."""
        if _CHANNEL is None:
            sys.exit("POOLPROOF_CHANNEL is not set: this program is started by a poolproof host")
        signal.signal(signal.SIGTERM, _terminate)
        with open(_CHANNEL[0], "rb") as source:
            try:
                while (body := read_frame(source, self._limit)) is not None:
                    write_frame(_CHANNEL[1], self._answer(body))
            except BrokenPipeError:
                pass  # the host is gone
            except FramingError as error:
                sys.exit(str(error))

    def _answer(self, body: bytes) -> bytes:
        """Return the body of the reply to a request."""
        try:
            request = json.loads(body)
            number = request["id"]
        except (ValueError, TypeError, KeyError) as error:
            raise FramingError(f"malformed request: {error!r}") from error
        try:
            reply = _encode(number, "result", self._dispatch(request))
            if len(reply) <= self._limit:
                return reply
            error = _error(TOO_LARGE, f"a result of {len(reply)} bytes exceeds the frame limit of {self._limit}")
        except MethodError as raised:
            error = _error(raised.code, str(raised), raised.data)
        except Exception as raised:  # noqa: BLE001 - any failure of a method is its caller's
            error = _error(FAILED, f"{type(raised).__name__}: {raised}", _describe(raised))
        return _encode(number, "error", error)

    def _dispatch(self, request: dict[str, Any]) -> Any:
        name, params = request.get("method"), request.get("params")
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            raise MethodError("not a request of JSON-RPC 2.0", INVALID_REQUEST)
        if name == "hello":
            self._limit = int(params["frame_limit"])
            self._greeted = True
            return {
                "protocol": PROTOCOL_VERSION,
                "pid": os.getpid(),
                "instance": self._instance,
                "methods": sorted(self._methods),
            }
        if not self._greeted:
            raise MethodError(f"{name} before hello", NO_HELLO)
        if name == "ping":
            return {"instance": self._instance}
        function = self._methods.get(name)
        if function is None:
            raise MethodError(f"no method {name}", UNKNOWN_METHOD)
        if params is not None and not isinstance(params, (dict, list)):
            raise MethodError("params must be an object or an array", INVALID_PARAMS)
        try:
            if isinstance(params, dict):
                return function(**params)
            return function(*(params or ()))
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            # Raised by the call itself: the arguments do not fit.
            raise MethodError(str(error), INVALID_PARAMS) from error

    def _end_session(self, session: str) -> bool:
        return self._sessions.pop(session, None) is not None


def _encode(number: Any, key: str, value: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, key: value}
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MethodError(f"the result is not JSON: {error}", INTERNAL) from error


def _error(code: int, message: str, data: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return error


def _describe(error: BaseException) -> dict[str, str]:
    import traceback  # late: most workers never need it, and it is slow to import

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"type": type(error).__name__, "traceback": text}


def _terminate(_signal: int, _frame: Any) -> None:
    raise SystemExit(0)


_default = Worker()
method = _default.method
session = _default.session
run = _default.run


@method
def echo(*args: Any, **kwargs: Any) -> Any:
    """Return the params."""
    return list(args) if args else kwargs


if __name__ == "__main__":
    run()
