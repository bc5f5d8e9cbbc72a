"""Memory shared with the host, for large payloads."""

from __future__ import annotations

import mmap
import os

from ._messages import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from ._messages import Buffer

THRESHOLD_BYTES = 32 << 10  # from which a reply's payload travels here


class SharedMemory:
    """A mapped file. The host writes the first half, this process the second."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._half = len(memory) // 2

    def request(self, shared: Any) -> memoryview:
        """Return the payload that a request names."""
        if not (isinstance(shared, list) and len(shared) == 2 and type(shared[0]) is type(shared[1]) is int):
            raise ProtocolError(f"shared is {shared!r}; it must be an offset and a number of bytes")
        offset, count = shared
        if offset < 0 or count < 0 or offset + count > self._half:
            raise ProtocolError(f"shared bytes {offset} to {offset + count} exceed the host's {self._half}")
        return memoryview(self._memory).toreadonly()[offset : offset + count]

    def reply(self, payload: Buffer) -> Optional[tuple[int, int]]:
        """Copy a reply's payload here and return where it is, or None if it should travel in
        the reply."""
        count = len(payload)
        if count < THRESHOLD_BYTES or count > len(self._memory) - self._half:
            return None
        self._memory[self._half : self._half + count] = payload
        return self._half, count


def attach(offer: Any) -> Optional[SharedMemory]:
    """Map what the host offers in hello, and close the descriptor. Returns None if it is not
    what the host says, or cannot be mapped; payloads then travel in frames."""
    try:
        descriptor, size = offer["descriptor"], offer["bytes"]
        if type(descriptor) is not int or type(size) is not int or descriptor < 3:
            return None
        try:
            if size < 2 or os.fstat(descriptor).st_size != size:
                return None
            return SharedMemory(mmap.mmap(descriptor, size))
        finally:
            os.close(descriptor)
    except (KeyError, TypeError, OSError, ValueError, OverflowError):
        return None
