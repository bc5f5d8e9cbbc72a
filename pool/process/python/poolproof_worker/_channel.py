"""The channel: the two byte streams between the host and this process, and their frames."""

from __future__ import annotations

import posix  # what os is made of; to import os takes as long as all the rest here
import sys
from _thread import RLock

from ._messages import DEFAULT_FRAME_LIMIT, HostGone, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ._messages import Buffer

VARIABLE = "POOLPROOF_CHANNEL"

_READ_BYTES = 8192  # at once, while a frame's length is unknown
_JOIN_BYTES = 16384  # up to which copying costs less than a vector


class Channel:
    """Frames to and from the host. Any thread may send; one thread receives."""

    def __init__(self, requests: int, replies: int) -> None:
        self.limit = DEFAULT_FRAME_LIMIT  # bytes of a body
        self.requests = requests
        self._replies = replies
        self.left = False  # this process was forked off and has nothing to do with the host
        self._ended = False
        self._buffer = b""  # received, and not taken yet
        self._body = bytearray()  # of a frame that has come in part
        self._missing = 0  # bytes of it
        self._lock = RLock()
        self._sending = False  # guarded by _lock, like those that follow
        self._broken = False
        self._deferred: list[tuple[bytes, Buffer]] = []

    def receive(self) -> Optional[Buffer]:
        """Return the next frame's body, or None at the end of file between frames."""
        while (body := self.take()) is None:
            if not self.fill():
                return None
        return body

    def take(self) -> Optional[Buffer]:
        """Return a body that is there already, or None."""
        if self._missing:
            return None
        if self._body:
            body, self._body = self._body, bytearray()
            return body
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[:4], "big")
        if length > self.limit:
            raise ProtocolError(f"a frame of {length} bytes exceeds the limit of {self.limit}")
        end = 4 + length
        if len(buffer) >= end:
            self._buffer = buffer[end:]
            return buffer[4:end]
        self._body = bytearray(length)
        self._body[: len(buffer) - 4] = buffer[4:]
        self._missing = end - len(buffer)
        self._buffer = b""
        return None

    def fill(self) -> bool:
        """Read once, which blocks while there is nothing. False: the host has closed the
        channel, in good order."""
        if self._missing:
            count = posix.readv(self.requests, [memoryview(self._body)[-self._missing :]])
            self._missing -= count
        else:
            data = posix.read(self.requests, _READ_BYTES)
            count = len(data)
            self._buffer = self._buffer + data if self._buffer else data
        if count == 0:
            if self._missing or self._buffer:
                raise ProtocolError("end of file inside a frame")
            self._ended = True
        return count > 0

    def ready(self, seconds: float = 0) -> bool:
        """Report whether fill would not block, if need be after waiting so long for that."""
        if self._ended:
            return False
        import select  # late: most workers never ask

        poll = select.poll()
        poll.register(self.requests, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    @property
    def ended(self) -> bool:
        """Whether the host has closed the channel, as far as was read."""
        return self._ended

    def send(self, body: bytes, payload: Buffer = b"") -> None:
        """Send one frame, of body and payload. If this thread is sending already, as in a
        signal handler, the frame follows that one."""
        with self._lock:
            if self._sending:
                self._deferred.append((body, bytes(payload)))
                return
            if self._broken:
                raise HostGone
            self._sending = True
            try:
                self._write(body, payload)
                while self._deferred:
                    self._write(*self._deferred.pop(0))
            except BaseException as error:
                self._broken = True  # perhaps amid a frame
                if isinstance(error, BrokenPipeError):
                    raise HostGone from None
                raise
            finally:
                self._sending = False

    def _write(self, body: bytes, payload: Buffer) -> None:
        length = len(body) + len(payload)
        head = length.to_bytes(4, "big") + body
        if len(payload) <= _JOIN_BYTES:
            head = head + payload if payload else head
            payload = b""
            sent = posix.write(self._replies, head)
        else:
            sent = posix.writev(self._replies, (head, payload))
        if sent == 4 + length:
            return
        for part in (head, payload):
            rest = memoryview(part)[sent:]
            sent = max(0, sent - len(part))
            while rest:
                rest = rest[posix.write(self._replies, rest) :]

    def _leave(self, null: int) -> None:
        """Have nothing to do with the host any more, in a process that was forked off."""
        for number in (self.requests, self._replies):
            posix.dup2(null, number, inheritable=False)
        self._lock = RLock()  # the old one may be held by a thread that is not here
        self.left = self._broken = self._ended = True
        self._sending = False
        self._buffer, self._body, self._missing = b"", bytearray(), 0


def _take_variable(name: str) -> str:
    """Remove a variable from the environment and return it, or an empty text."""
    if "os" in sys.modules:
        import os

        return os.environ.pop(name, "")
    value = posix.environ.pop(name.encode(), b"")  # which os.environ is made of
    if value:
        posix.unsetenv(name)
    return value.decode()


def claim() -> Optional[Channel]:
    """Take the channel's descriptors away from everyone else in this process and from the
    processes that it starts. Returns None if no host started this process."""
    spec = _take_variable(VARIABLE)
    if not spec:
        return None
    try:
        requests, replies = (int(number) for number in spec.split(","))
        channel = Channel(posix.dup(requests), posix.dup(replies))  # not inherited by programs
        posix.set_blocking(channel.requests, True)
        posix.set_blocking(channel._replies, True)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{VARIABLE} is {spec!r}: {error}; is this program started by a poolproof host?") from error
    null = posix.open("/dev/null", posix.O_RDWR)
    for number in (requests, replies):
        if number > 2:
            posix.close(number)
    posix.dup2(null, 0)
    posix.dup2(2, 1)
    posix.register_at_fork(after_in_child=lambda: channel._leave(null))
    return channel


claimed = claim()
preloading = False  # the fork server is loading the program
