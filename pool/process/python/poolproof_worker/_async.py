"""The event loop on which async methods run."""

from __future__ import annotations

import asyncio

from ._messages import Cancelled, MethodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, Optional

    from ._call import Call
    from ._channel import Channel
    from ._messages import Buffer


class Loop:
    """An event loop that hears the channel. It runs during async calls and, once there is
    one, between calls, so that tasks go on then."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._call: Optional[Call] = None
        self._arrival: Optional[asyncio.Future[None]] = None
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(channel.requests, self._readable)

    def _readable(self) -> None:
        """Read what the host sends: during a call that is about the call."""
        if self._call is not None:
            self._call.fill()
            self._call.absorb()
        else:
            self._channel.fill()
        if self._channel.ended:
            self._loop.remove_reader(self._channel.requests)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def receive(self) -> Optional[Buffer]:
        """Return the next frame's body, or None at the end of file. Tasks run meanwhile."""
        while (body := self._channel.take()) is None:
            if self._channel.ended:
                return None
            self._arrival = self._loop.create_future()
            self._loop.run_until_complete(self._arrival)
        return body

    def run(self, awaitable: Awaitable[Any], call: Optional[Call] = None) -> Any:
        """Run a coroutine and return its result. It is cancelled with its call, and when this
        process is to end."""

        async def outcome() -> Any:
            return await awaitable

        task = self._loop.create_task(outcome())
        if call is not None:
            call.on_cancel = task.cancel
            self._call = call
            call.poll()  # what was read before
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if call is not None and call.cancelled:
                raise Cancelled from None
            raise MethodError("the method was cancelled by itself") from None
        except BaseException:
            if not task.done():
                self._end({task})
            raise
        finally:
            self._call = None

    def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Cancel tasks and let them end."""
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def close(self) -> None:
        """Cancel what still runs and close the loop."""
        try:
            self._end(asyncio.all_tasks(self._loop))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
