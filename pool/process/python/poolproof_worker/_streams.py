"""Results that take a while: what coroutines return, and what generators yield."""

from __future__ import annotations

from types import AsyncGeneratorType, GeneratorType

from ._call import split
from ._messages import INVALID_PARAMS, MethodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any

    from ._async import Loop
    from ._call import Call


def settle(result: Any, call: Call, loop: Callable[[], Loop]) -> Any:
    """Return what a method's result comes to: a coroutine's result, or, after its chunks were
    sent, a generator's. Without a stream the chunks are the result."""
    if hasattr(type(result), "__await__"):
        result = loop().run(result, call)
    if isinstance(result, GeneratorType):
        return stream(result, call) if call.streams else [_gathered(item) for item in result]
    if isinstance(result, AsyncGeneratorType):
        return loop().run(stream_async(result, call) if call.streams else gather_async(result), call)
    return result


def stream(generator: Generator[Any, None, Any], call: Call) -> Any:
    """Send what a generator yields and return what it returns. What prevents a chunk from
    being sent is raised in the generator, where it yields that."""
    while True:
        try:
            item = next(generator)
        except StopIteration as end:
            return end.value
        try:
            body, payload = call.chunk(item)
            call.await_credit()
            call.send_chunk(body, payload)
        except BaseException as reason:
            try:
                generator.throw(reason)
            except StopIteration as end:
                return end.value
            generator.close()
            raise


async def stream_async(generator: AsyncGenerator[Any, None], call: Call) -> None:
    """Send what an async generator yields. It is closed when a chunk cannot be sent."""
    import asyncio

    changed = asyncio.Event()
    call.on_credit = changed.set
    try:
        async for item in generator:
            body, payload = call.chunk(item)
            while call.credit == 0 and not call.cancelled:
                changed.clear()
                await changed.wait()
            call.send_chunk(body, payload)
    finally:
        await generator.aclose()


async def gather_async(generator: AsyncGenerator[Any, None]) -> list[Any]:
    """Return what an async generator yields."""
    try:
        return [_gathered(item) async for item in generator]
    finally:
        await generator.aclose()


def _gathered(item: Any) -> Any:
    value, payload = split(item)
    if payload is not None:
        raise MethodError("the method sends payloads, so it must be called as a stream", INVALID_PARAMS)
    return value
