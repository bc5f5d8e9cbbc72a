"""The call under way: whether it is cancelled, and how much of its stream may be sent."""

from __future__ import annotations

import time

from ._messages import INTERNAL, INVALID_REQUEST, TOO_LARGE, Cancelled, MethodError, ProtocolError, Result, binary, encode, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    from ._channel import Channel
    from ._messages import Buffer


class Call:
    """One request that is being answered."""

    __slots__ = ("_channel", "cancelled", "chunks", "credit", "number", "on_cancel", "on_credit", "streams")

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self.number = number
        self.cancelled = False
        self.streams = False  # the host wants chunks
        self.chunks = 0  # sent
        self.credit = 0  # chunks that may be sent
        self.on_cancel: Optional[Callable[[], Any]] = None
        self.on_credit: Optional[Callable[[], Any]] = None

    def open_stream(self, stream: Any) -> None:
        """Have chunks sent, as a request wants it."""
        window = stream.get("window") if isinstance(stream, dict) else None
        if type(window) is not int or window < 0:
            raise MethodError(f"the window of a stream is {window!r}; it must be a number of chunks", INVALID_REQUEST)
        self.streams, self.credit = True, window

    def poll(self, seconds: float = 0) -> bool:
        """Take in what the host has sent, and report whether the call is cancelled. Waits so
        long for that, if told to."""
        self.absorb()
        end = time.monotonic() + seconds
        while not self.cancelled:
            left = max(0.0, end - time.monotonic())
            if self._channel.ended:  # in a process that was forked off
                time.sleep(left)
                break
            if not self._channel.ready(left):
                break
            self.fill()
            self.absorb()
        return self.cancelled

    def fill(self) -> None:
        """Read once. A host that has closed the channel has given the call up."""
        if not self._channel.fill():
            self.cancel()

    def absorb(self) -> None:
        """Heed the messages that were read."""
        while (body := self._channel.take()) is not None:
            message, _ = parse(body)
            if not isinstance(message, dict) or "id" in message or "method" not in message:
                raise ProtocolError(f"request {self.number} is not answered and there is another")
            params = message.get("params")
            if not isinstance(params, dict) or params.get("id") != self.number:
                continue
            if message["method"] == "cancel":
                self.cancel()
            elif message["method"] == "credit":
                chunks = params.get("chunks")
                if not isinstance(chunks, int) or chunks < 0:
                    raise ProtocolError(f"a credit of {chunks!r} chunks")
                self.credit += chunks
                if self.on_credit:
                    self.on_credit()

    def cancel(self) -> None:
        """Note that the host has given the call up."""
        if not self.cancelled:
            self.cancelled = True
            if self.on_cancel:
                self.on_cancel()

    def await_credit(self) -> None:
        """Block until a chunk may be sent."""
        self.absorb()
        while self.credit == 0 and not self.cancelled:
            self.fill()
            self.absorb()

    def send_chunk(self, body: bytes, payload: Buffer) -> None:
        """Send a chunk, for which there must be credit."""
        if self.cancelled:
            raise Cancelled
        self._channel.send(body, payload)
        self.credit -= 1
        self.chunks += 1

    def chunk(self, item: Any) -> tuple[bytes, Buffer]:
        """Return the frame of the next chunk."""
        value, payload = split(item)
        params = {"id": self.number, "seq": self.chunks, "value": value}
        if value is None and payload is not None:
            del params["value"]
        try:
            body = encode({"jsonrpc": "2.0", "method": "chunk", "params": params})
        except (TypeError, ValueError, RecursionError) as error:
            raise MethodError(f"the chunk is not JSON: {error}", INTERNAL) from error
        if payload is not None:
            body = binary(body)
        length = len(body) + (0 if payload is None else len(payload))
        if length > self._channel.limit:
            raise MethodError(
                f"a chunk of {length} bytes exceeds the frame limit of {self._channel.limit}", TOO_LARGE
            )
        return body, b"" if payload is None else payload


def split(result: Any) -> tuple[Any, Optional[Buffer]]:
    """Return the value and the payload of what a method gave."""
    if isinstance(result, Result):
        return result.value, None if result.payload is None else flat(result.payload)
    if isinstance(result, (bytes, bytearray, memoryview)):
        return None, flat(result)
    return result, None


def flat(payload: Buffer) -> Buffer:
    """Return a payload of any buffer as plain bytes, copied only if they are scattered."""
    if isinstance(payload, (bytes, bytearray)):
        return payload
    try:
        view = memoryview(payload)
    except TypeError as error:
        raise MethodError(f"the payload is of type {type(payload).__name__}, which has no bytes", INTERNAL) from error
    if view.format == "B" and view.ndim == 1 and view.c_contiguous:
        return view
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()
