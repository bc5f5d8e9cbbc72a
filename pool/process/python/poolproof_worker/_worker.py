"""A worker: its methods and sessions, and the loop that answers requests."""

from __future__ import annotations

import posix
from _thread import get_ident

from . import _channel
from ._messages import (
    INTERNAL,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LONGEST_HEADER,
    NO_HELLO,
    PROTOCOL_VERSION,
    TOO_LARGE,
    UNKNOWN_METHOD,
    Cancelled,
    MethodError,
    ProtocolError,
    Result,
    binary,
    encode,
    encode_result,
    error_reply,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, TypeVar, overload

    from ._async import Loop
    from ._call import Call
    from ._channel import Channel
    from ._messages import Buffer
    from ._shared import SharedMemory

    Function = TypeVar("Function", bound=Callable[..., Any])
    Hook = TypeVar("Hook", bound=Callable[[], Any])
    SessionHook = TypeVar("SessionHook", bound=Callable[[str], Any])
    from signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, SIGTERM, getsignal, pthread_sigmask, signal
else:  # the signal module imports enum, which is slow
    from _signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, SIGTERM, getsignal, pthread_sigmask, signal

RESERVED = ("hello", "ping", "session_ended", "")
LARGEST_BATCH = 1000

_PLAIN = frozenset((dict, list, str, int, float, bool, type(None), tuple))
_ASYNC_CODE = 0x80  # the flag of an async def; the inspect module is slow to import


class Method:
    """A function that is served."""

    __slots__ = ("cancellable", "function", "name", "payload")

    def __init__(self, function: Callable[..., Any], name: str, cancellable: bool, payload: bool) -> None:
        self.function = function
        self.name = name
        self.cancellable = cancellable
        self.payload = payload

    def call(self, params: Any, payload: Optional[memoryview]) -> Any:
        """Call the function with what a request holds."""
        if params is not None and not isinstance(params, (dict, list)):
            raise MethodError("params must be an object or an array", INVALID_PARAMS)
        extra = {}
        if payload is not None:
            if not self.payload:
                raise MethodError(f"{self.name} takes no payload", INVALID_PARAMS)
            extra["payload"] = payload
        try:
            if isinstance(params, dict):
                if self.payload and "payload" in params:
                    raise MethodError("payload must be bytes beside the JSON, not in it", INVALID_PARAMS)
                return self.function(**params, **extra)
            return self.function(*(params or ()), **extra)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            # Raised by the call itself: the arguments do not fit.
            raise MethodError(str(error), INVALID_PARAMS) from error


class Worker:
    """Methods, and the state of the sessions that they keep. A program has one, whose methods
    are the functions of this package."""

    def __init__(self) -> None:
        self._methods = {"session_ended": Method(self._end_session, "session_ended", False, False)}
        self._sessions: dict[str, dict[Any, Any]] = {}
        self._session_hooks: list[Callable[[str], Any]] = []
        self._start_hooks: list[Callable[[], Any]] = []
        self._stop_hooks: list[Callable[[], Any]] = []
        self._channel: Optional[Channel] = None
        self._shared: Optional[SharedMemory] = None
        self._async: Optional[Loop] = None
        self._last = 0  # the highest id so far
        self._number = 0  # the id of the request under way, or 0
        self._call: Optional[Call] = None  # and more about it, if anyone wants to know
        self._instance = ""
        self._welcomed = False  # hello was accepted
        self._greeted = False  # and answered
        self._stopping = False
        self._thread = 0

    if TYPE_CHECKING:

        @overload
        def method(self, function: Function) -> Function: ...

        @overload
        def method(
            self, *, name: Optional[str] = None, cancellable: Optional[bool] = None, payload: bool = False
        ) -> Callable[[Function], Function]: ...

    def method(
        self,
        function: Optional[Callable[..., Any]] = None,
        *,
        name: Optional[str] = None,
        cancellable: Optional[bool] = None,
        payload: bool = False,
    ) -> Any:
        """Serve a function, as a decorator with or without arguments.

        name is the method's; the function's own by default. cancellable promises that the
        function ends soon when the host gives the call up, as it asks cancelled() now and
        then; by default an async def is, as it is cancelled for it. payload=True gives the
        function the bytes that come with a request as the keyword argument payload, a
        read-only memoryview that is valid until the call ends; a request without any leaves
        the argument out.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(function, name or getattr(function, "__name__", ""), cancellable, payload)
            return function

        return decorate if function is None else decorate(function)

    def _add(self, function: Callable[..., Any], name: str, cancellable: Optional[bool], payload: bool) -> None:
        if name in RESERVED:
            raise ValueError(f"method name {name!r} is reserved")
        if name in self._methods:
            raise ValueError(f"there is a method {name!r} already")
        if cancellable is None:
            cancellable = bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & _ASYNC_CODE)
        self._methods[name] = Method(function, name, cancellable, payload)

    def on_session_ended(self, function: SessionHook) -> SessionHook:
        """Call a function with a session's name when that has ended, before its state is
        dropped. Works as a decorator."""
        self._session_hooks.append(function)
        return function

    def on_start(self, function: Hook) -> Hook:
        """Call a function, which may be async, before the first request is answered. In a fork
        server that is after the fork: the place to open files and connections. Works as a
        decorator."""
        self._start_hooks.append(function)
        return function

    def on_stop(self, function: Hook) -> Hook:
        """Call a function, which may be async, before the worker ends, unless it is killed. The
        functions are called in reverse order. Works as a decorator."""
        self._stop_hooks.append(function)
        return function

    def session(self, name: str) -> dict[Any, Any]:
        """Return the session's state, which is new after the session has ended."""
        return self._sessions.setdefault(name, {})

    def cancelled(self, within: float = 0) -> bool:
        """Report whether the host has given up the call under way; if not, wait for that for
        so many seconds. False outside a call, and in other threads until the one that run()
        is called on has asked."""
        if get_ident() != self._thread:
            call = self._call
            return call is not None and call.cancelled
        return self._number != 0 and self._under_way().poll(within)

    def check_cancelled(self, within: float = 0) -> None:
        """Raise Cancelled if cancelled(within): with an argument, a sleep that ends early."""
        if self.cancelled(within):
            raise Cancelled

    def progress(self, value: Any) -> None:
        """Send a value, which must be JSON, to the caller whose call is under way, if any."""
        number = self._number
        if number:
            self.notify("progress", {"id": number, "value": value})

    def notify(self, method: str, params: Any) -> bool:
        """Send a notification, which the host gives to its Config.OnNotification. Any thread
        may. Returns False without sending it if the host has not said hello yet, or if this
        process was forked off a worker. Raises TypeError or ValueError if params are not JSON
        or exceed the frame limit."""
        channel = self._channel
        if channel is None or channel.left or not self._greeted:
            return False
        body = encode({"jsonrpc": "2.0", "method": method, "params": params})
        if len(body) > channel.limit:
            raise ValueError(f"a notification of {len(body)} bytes exceeds the frame limit of {channel.limit}")
        channel.send(body)
        return True

    def run(self) -> None:
        """Answer requests until the host closes the channel. It must be called on the main
        thread, once. SIGTERM raises SystemExit in it, as does the end of the host."""
        if _channel.preloading:
            raise RuntimeError('run() is called while the fork server loads the program; put it under if __name__ == "__main__":')
        channel = self._channel = _channel.claimed
        if channel is None:
            raise SystemExit(f"{_channel.VARIABLE} is not set: this program is started by a poolproof host")
        self._instance = posix.urandom(16).hex()
        self._thread = get_ident()
        signal(SIGTERM, self._terminate)
        self._mind_forks()
        try:
            for hook in self._start_hooks:
                self._run_hook(hook)
            while self._serve(self._receive()):
                pass
        finally:
            if not channel.left:
                self._stop()

    def _stop(self) -> None:
        try:
            for hook in reversed(self._stop_hooks):
                self._run_hook(hook)
        finally:
            if self._async is not None:
                self._async.close()

    def _run_hook(self, hook: Callable[[], Any]) -> None:
        result = hook()
        if hasattr(result, "__await__"):
            self.loop().run(result)

    def _terminate(self, _signal: int, _frame: Any) -> None:
        if not self._stopping:  # what ends the worker is not interrupted again
            self._stopping = True
            raise SystemExit(0)

    def _mind_forks(self) -> None:
        """Have SIGTERM simply end a process that is forked off, which is no worker. It is
        blocked until that is so, as the interpreter loses signals while it forks."""
        mask: set[int] = set()

        def before() -> None:
            nonlocal mask
            mask = pthread_sigmask(SIG_BLOCK, (SIGTERM,))

        def in_parent() -> None:
            pthread_sigmask(SIG_SETMASK, mask)

        def in_child() -> None:
            if getsignal(SIGTERM) == self._terminate:
                signal(SIGTERM, SIG_DFL)
            pthread_sigmask(SIG_SETMASK, mask)

        posix.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)

    def loop(self) -> Loop:
        """Return the event loop, which exists once it is needed."""
        if self._async is None:
            assert self._channel is not None
            from ._async import Loop

            self._async = Loop(self._channel)
        return self._async

    def _receive(self) -> Optional[Buffer]:
        if self._async is not None:  # so that its tasks go on
            return self._async.receive()
        assert self._channel is not None
        return self._channel.receive()

    def _serve(self, body: Optional[Buffer]) -> bool:
        """Answer what a body holds. False: there is none, the channel has ended."""
        if body is None:
            return False
        message, payload = parse(body)
        if isinstance(message, dict):
            if "id" in message:
                self._answer(message, payload)
            elif "method" not in message:
                raise ProtocolError(f"malformed message: neither a method nor an id in {str(message):.80}")
        elif isinstance(message, list) and 0 < len(message) <= LARGEST_BATCH and payload is None:
            self._answer_batch(message)
        else:
            raise ProtocolError(f"malformed message: {str(message):.80}")
        return True

    def _begin(self, request: dict[str, Any]) -> int:
        number = request.get("id")
        if type(number) is not int or number <= self._last:
            raise ProtocolError(f"a request has the id {number!r} after {self._last}")
        self._last = self._number = number
        return number

    def _under_way(self) -> Call:
        """Return the call under way, of which there must be one."""
        if self._call is None:
            assert self._channel is not None
            from ._call import Call  # late: most calls are neither cancelled nor streams

            self._call = Call(self._channel, self._number)
        return self._call

    def _end(self) -> None:
        self._number, self._call = 0, None

    def _answer(self, request: dict[str, Any], payload: Optional[memoryview]) -> None:
        """Send the reply to a request."""
        number = self._begin(request)
        channel = self._channel
        assert channel is not None
        if "shared" in request:
            if self._shared is None or payload is not None:
                raise ProtocolError("a payload in shared memory where there can be none")
            payload = self._shared.request(request["shared"])
        try:
            if "stream" in request:
                self._under_way().open_stream(request["stream"])
            result = self._dispatch(request, payload)
            out: Optional[Buffer] = None
            if result is payload or type(result) is bytes:
                result, out = None, result
            elif type(result) not in _PLAIN:
                result, out = self._settle(result)
            if out is None:
                reply = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, encode_result(result))
            else:
                reply, out = self._with_payload(number, encode_result(result), out)
            length = len(reply) + len(out or b"")
            if length > channel.limit:
                raise MethodError(
                    f"a result of {length} bytes exceeds the frame limit of {channel.limit}", TOO_LARGE
                )
        except (Exception, Cancelled) as error:
            reply, out = error_reply(number, error, channel.limit), None
            if len(reply) > channel.limit:
                raise ProtocolError(f"the frame limit of {channel.limit} has no room for a reply") from error
        finally:
            self._end()
        channel.send(reply, out or b"")
        if payload is not None:
            try:
                payload.release()
            except BufferError:
                pass  # the method's loss, if it is shared memory
        self._greeted = self._welcomed

    def _with_payload(self, number: int, value: bytes, payload: Buffer) -> tuple[bytes, Optional[Buffer]]:
        """Return a reply, and the payload if it goes in the same frame."""
        reply = b'{"jsonrpc":"2.0","id":%d,"result":%b' % (number, value)
        if self._shared is not None:
            shared = self._shared.reply(payload)
            if shared is not None:
                return b'%b,"shared":[%d,%d]}' % (reply, *shared), None
        if len(reply) >= LONGEST_HEADER:
            raise MethodError(f"a result of {len(reply)} bytes is too large beside a payload", TOO_LARGE)
        return binary(reply + b"}"), payload

    def _settle(self, result: Any) -> tuple[Any, Optional[Buffer]]:
        """Return the value and the payload of what a method gave, which may take a while."""
        from ._call import split

        if isinstance(result, (Result, bytes, bytearray, memoryview)):
            return split(result)
        from ._streams import settle

        return split(settle(result, self._under_way(), self.loop))

    def _answer_batch(self, requests: list[Any]) -> None:
        """Send one body with the replies to all requests."""
        channel = self._channel
        assert channel is not None
        refusal = MethodError("too large", TOO_LARGE)
        refused = len(error_reply(0, refusal, channel.limit)) - 1
        # Until their turn comes, there must be room to refuse the others.
        reserved = sum(refused + 1 + len(str(r.get("id"))) for r in requests if isinstance(r, dict))
        replies, total = [], 1
        for request in requests:
            if not isinstance(request, dict):
                raise ProtocolError(f"malformed request in a batch: {str(request):.80}")
            number = self._begin(request)
            reserved -= refused + 1 + len(str(number))
            try:
                reply = self._answer_member(request, number)
            except (Exception, Cancelled) as error:
                reply = error_reply(number, error, channel.limit)
            finally:
                self._end()
            if total + len(reply) + 1 + reserved > channel.limit:
                reply = error_reply(number, refusal, channel.limit)
            replies.append(reply)
            total += len(reply) + 1
        if total > channel.limit:
            raise ProtocolError(f"the frame limit of {channel.limit} has no room for {len(requests)} replies")
        channel.send(b"[%b]" % b",".join(replies))

    def _answer_member(self, request: dict[str, Any], number: int) -> bytes:
        if request.get("method") == "hello" or "stream" in request or "shared" in request:
            raise MethodError("a batch cannot hold this request", INVALID_REQUEST)
        result = self._dispatch(request, None)
        if type(result) not in _PLAIN:
            result, payload = self._settle(result)
            if payload is not None:
                raise MethodError("the result has a payload, for which a batch has no room", INTERNAL)
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, encode_result(result))

    def _dispatch(self, request: dict[str, Any], payload: Optional[memoryview]) -> Any:
        """Return what the method that a request asks for gives."""
        name = request.get("method")
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            raise MethodError("not a request of JSON-RPC 2.0", INVALID_REQUEST)
        method = self._methods.get(name)
        if method is not None and self._greeted:
            return method.call(request.get("params"), payload)
        if name not in ("hello", "ping"):
            if not self._greeted:
                raise MethodError(f"{name} before hello", NO_HELLO)
            raise MethodError(f"no method {name}", UNKNOWN_METHOD)
        if payload is not None:
            raise MethodError(f"{name} takes no payload", INVALID_PARAMS)
        if name == "hello":
            return self._hello(request.get("params"))
        if not self._greeted:
            raise MethodError("ping before hello", NO_HELLO)
        return {"instance": self._instance}

    def _hello(self, params: Any) -> dict[str, Any]:
        limit = params.get("frame_limit") if isinstance(params, dict) else None
        if type(limit) is not int or limit <= 0:
            raise MethodError(f"the frame limit is {limit!r}; it must be a positive number", INVALID_PARAMS)
        if self._greeted:
            raise MethodError("hello was said already", INVALID_REQUEST)
        assert self._channel is not None
        self._channel.limit = limit
        features = ["binary", "batch", "stream"]
        if "shared_memory" in params:
            from ._shared import attach  # late: it is not always offered

            self._shared = attach(params["shared_memory"])
            if self._shared is not None:
                features.append("shared_memory")
        self._welcomed = True
        return {
            "protocol": PROTOCOL_VERSION,
            "pid": posix.getpid(),
            "instance": self._instance,
            "methods": sorted(self._methods),
            "features": features,
            "cancellable": sorted(name for name, method in self._methods.items() if method.cancellable),
        }

    def _end_session(self, session: str) -> bool:
        known = session in self._sessions
        try:
            for hook in self._session_hooks:
                hook(session)
        finally:
            self._sessions.pop(session, None)
        return known
