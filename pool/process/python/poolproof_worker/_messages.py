"""Messages: what a body holds, and the exceptions that stand for error replies.

JSON is read and written with the C functions beneath the json module, because importing
that doubles the time a small worker needs to start. Where they are missing or have changed,
and to explain what is wrong with a text, it is the json module after all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, Union

    Buffer = Union[bytes, bytearray, memoryview]

PROTOCOL_VERSION = 1
DEFAULT_FRAME_LIMIT = 16 << 20
LONGEST_HEADER = (1 << 24) - 1

INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
FAILED = -32000
TOO_LARGE = -32001
NO_HELLO = -32002
CANCELLED = -32003


class MethodError(Exception):
    """An error reply with a code and data of the method's choice. Data must be JSON; text in
    data["traceback"] is shown to people."""

    def __init__(self, message: str, code: int = FAILED, data: Any = None) -> None:
        super().__init__(message)
        if not isinstance(code, int):
            raise TypeError(f"the code of a MethodError is {code!r}; it must be an integer")
        self.code = code
        self.data = data


class Cancelled(BaseException):
    """The host has given the call up. Like asyncio.CancelledError it is no Exception, so that
    code which survives all errors does not survive this."""


class ProtocolError(SystemExit):
    """The host broke the protocol, so this worker cannot go on: it exits with code 1 and the
    message on standard error."""


class HostGone(SystemExit):
    """Nobody reads replies any more: this worker exits with code 0."""

    def __init__(self) -> None:
        super().__init__(0)


class Result:
    """The result of a method, with a payload: raw bytes beside the JSON."""

    __slots__ = ("payload", "value")

    def __init__(self, value: Any = None, payload: Optional[Buffer] = None) -> None:
        self.value = value
        self.payload = payload


class Chunk(Result):
    """One piece of a stream, with a payload."""

    __slots__ = ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _not_json(value: object) -> Any:
    raise TypeError(f"a value of type {type(value).__name__} is not JSON")


def _json_module() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    import json

    decoder = json.JSONDecoder(parse_constant=_no_constant)
    encoder = json.JSONEncoder(
        ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_not_json
    )
    return decoder.decode, encoder.encode


def _codec() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Return what decodes a JSON text and what encodes a value."""
    try:
        import _json

        class Grammar:
            strict = True
            object_hook = object_pairs_hook = None
            parse_float = float
            parse_int = int
            parse_constant = _no_constant

        grammar: Any = Grammar
        scan = _json.make_scanner(grammar)
        chunks = _json.make_encoder(None, _not_json, _json.encode_basestring, None, ":", ",", False, False, False)
        if scan('{"a":[1]}', 0) != ({"a": [1]}, 9) or "".join(chunks({"a": [1]}, 0)) != '{"a":[1]}':
            return _json_module()
    except Exception:  # noqa: BLE001 - whatever is wrong with them, json does without
        return _json_module()

    def decode(text: str) -> Any:
        try:
            value, end = scan(text, 0)
            if end == len(text):
                return value
        except (StopIteration, SystemError, ValueError):
            pass
        return _json_module()[0](text)  # there is space around it, or it is none

    def encode(value: Any) -> str:
        return "".join(chunks(value, 0))

    return decode, encode


_decode, _encode = _codec()


def parse(body: Buffer) -> tuple[Any, Optional[memoryview]]:
    """Return the message in a body, and its payload if it is in the binary form."""
    payload = None
    text = body
    if body and body[0] == 0:
        end = 4 + int.from_bytes(body[1:4], "big")
        if end > len(body):
            raise ProtocolError(f"a body of {len(body)} bytes ends inside its header")
        text, payload = body[4:end], memoryview(body)[end:].toreadonly()
    try:
        return _decode(str(text, "utf-8")), payload
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"malformed message: {error!r}") from error


def encode(value: Any) -> bytes:
    """Return a value as JSON. Raises TypeError, ValueError or RecursionError."""
    return _encode(value).encode()


def encode_lossy(value: Any) -> bytes:
    """Return a value as JSON even if its strings hold what is no text."""
    return _encode(value).encode(errors="backslashreplace")


def encode_result(value: Any) -> bytes:
    """Return what a method gave as JSON; if it is none, that is the method's error."""
    if value is None:
        return b"null"
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise MethodError(f"the result is not JSON: {error}", INTERNAL) from error


def binary(header: bytes) -> bytes:
    """Return what comes before the payload in the binary form."""
    return len(header).to_bytes(4, "big") + header  # no longer than three bytes can say


def error_reply(number: int, error: BaseException, limit: int) -> bytes:
    """Return the reply that says what a method raised. It loses what the limit leaves no room
    for, and what is not JSON."""
    data: Any = None
    if isinstance(error, MethodError):
        code, message, data = error.code, str(error), error.data
    elif isinstance(error, Cancelled):
        code, message = CANCELLED, "the call was cancelled"
    else:
        code, message = FAILED, f"{type(error).__name__}: {error}"
        data = {"type": type(error).__name__, "traceback": _traceback(error)}
    reply = {"code": code, "message": message}
    if data is not None:
        try:
            body = _error(number, {**reply, "data": data})
            if len(body) <= limit:
                return body
        except (TypeError, ValueError, RecursionError):
            pass
    body = _error(number, reply)
    if len(body) > limit:
        # A character takes up to six bytes.
        room = max(0, (limit - len(_error(number, {"code": code, "message": ""}))) // 6)
        body = _error(number, {"code": code, "message": message[:room]})
    return body


def _error(number: int, error: dict[str, Any]) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (number, encode_lossy(error))


def _traceback(error: BaseException) -> str:
    import traceback  # late: most workers never need it, and it is slow to import

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
