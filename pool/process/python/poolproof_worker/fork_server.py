"""Loads a worker program once and forks a process for each worker.

    python3 -m poolproof_worker.fork_server worker.py [module...] [-- argument...]

A host starts it, as docs/protocol.md says in the section Fork server. The modules are
imported first, then the program is, which finds the arguments in sys.argv. Its run() must be under if __name__ == "__main__".
What they made is shared by all workers, copied where a worker changes it. What must not be
shared, such as connections, belongs in a function under on_start. Exit functions that were
registered during loading run in the server alone.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import random
import signal
import socket
import sys
import threading

if not __package__:  # run by its path, not by -m
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from poolproof_worker import _channel, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

VARIABLE = "POOLPROOF_FORK_SERVER"
PROTOCOL_VERSION = 1

_PR_SET_PDEATHSIG = 1
_PACKET_BYTES = 1 << 16
_MOST_DESCRIPTORS = 16
_LATE = ("_call", "_shared", "_streams")  # what each worker would import after it was forked
_RESERVED = (3, 4, 5)  # the descriptors of a worker
_ABOVE = 6


def _prepare_prctl() -> Any:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return prctl


class ForkServer:
    """The server's end of the socket, and the processes that it forked and has not reaped."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pid = os.getpid()
        self._children: dict[int, int] = {}  # processes by key
        self._prctl = _prepare_prctl()

    def serve(self) -> bool:
        """Do what the host asks. Returns True in a forked process, which is to become a worker,
        and False when the socket has ended."""
        self._send({"ready": {"protocol": PROTOCOL_VERSION, "pid": self._pid}})
        while True:
            packet, descriptors, flags, _ = socket.recv_fds(
                self._socket, _PACKET_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            if not packet:
                return False
            try:
                if self._obey(packet, descriptors, bool(flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC))):
                    return True
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _obey(self, packet: bytes, descriptors: list[int], truncated: bool) -> bool:
        try:
            message = json.loads(packet)
            (verb, params), = message.items()
            key = params["key"]
            if type(key) is not int or verb not in ("fork", "reap"):
                raise ValueError("it must be a fork or a reap with a number as its key")
            if (key in self._children) is not (verb == "reap"):
                raise ValueError(f"there is {'a' if verb == 'fork' else 'no'} process with this key")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SystemExit(f"malformed packet {packet[:80]!r}: {error}") from error
        if verb == "fork":
            if truncated or len(descriptors) not in (3, 4):
                return self._failed(key, f"{len(descriptors)} descriptors have come, want 3 or 4")
            return self._fork(key, descriptors)
        _, status = os.waitpid(self._children[key], 0)
        del self._children[key]
        self._send({"reaped": {"key": key, "status": status}})
        return False

    def _fork(self, key: int, descriptors: list[int]) -> bool:
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            return self._failed(key, f"fork: {error}")
        if pid == 0:
            self._become_worker(descriptors)
            return True
        try:
            os.setpgid(pid, pid)  # here too, so that the host finds the group
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is ours
            os.waitpid(pid, 0)
            return self._failed(key, f"pidfd of the new process: {error}")
        self._children[key] = pid
        try:
            self._send({"forked": {"key": key, "pid": pid}}, pidfd)
        finally:
            os.close(pidfd)
        return False

    def _failed(self, key: int, message: str) -> bool:
        self._send({"failed": {"key": key, "message": message}})
        return False

    def _send(self, message: dict[str, Any], *descriptors: int) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise SystemExit(0) from None  # the host is gone

    def _become_worker(self, descriptors: list[int]) -> None:
        """Make this forked process what a host would have started."""
        try:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(1)  # the server ended before the signal was set
            os.setpgid(0, 0)
            self._socket.close()
            given = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for number in descriptors]
            while descriptors:
                os.close(descriptors.pop())
            for number, target in zip(given, _RESERVED[:2]):
                os.dup2(number, target)
            for target in (1, 2):
                os.dup2(given[2], target)
            if len(given) > 3:
                os.dup2(given[3], _RESERVED[2])
            else:
                os.closerange(_RESERVED[2], _ABOVE)
            for number in given:
                os.close(number)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            random.seed()
            atexit._clear()
            os.environ[_channel.VARIABLE] = "3,4"
            _channel.claimed = _channel.claim()
        except BaseException as error:
            os.write(2, f"becoming a worker: {error!r}\n".encode())
            os._exit(1)


def _claim() -> socket.socket:
    """Take the socket away from everyone else, and keep a worker's descriptors free for it."""
    spec = os.environ.pop(VARIABLE, "")
    if not spec:
        raise SystemExit(f"{VARIABLE} is not set: this program is started by a poolproof host")
    try:
        connection = socket.socket(fileno=fcntl.fcntl(int(spec), fcntl.F_DUPFD_CLOEXEC, _ABOVE))
        if int(spec) > 2:
            os.close(int(spec))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{VARIABLE} is {spec!r}: {error}") from error
    connection.setblocking(True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for number in _RESERVED:
        if number != null:
            os.dup2(null, number, inheritable=False)
    if null not in _RESERVED:
        os.close(null)
    return connection


def _load(program: str, modules: list[str], arguments: list[str]) -> None:
    """Import the modules and then the program. The signals are as before after that."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    sys.argv[:] = [program, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(program))
    _channel.preloading = True
    for name in _LATE:
        importlib.import_module(f"poolproof_worker.{name}")
    for name in modules:
        importlib.import_module(name)
    name = "__program__"
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(program))
    if spec is None or spec.loader is None:
        raise SystemExit(f"{program!r} is no Python program")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader: Any = spec.loader
    loader.exec_module(module)
    _channel.preloading = False
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    gc.collect()
    gc.freeze()  # so that no collection in a worker touches, and so copies, what is shared


def _live() -> NoReturn:
    """Be a worker, and end without taking the interpreter apart: that would touch, and so
    copy, all that is shared."""
    code = 0
    try:
        try:
            run()
        finally:
            shutdown: Any = threading
            shutdown._shutdown()  # waits for threads, as the interpreter does
            atexit._run_exitfuncs()
    except SystemExit as end:
        if isinstance(end.code, int):
            code = end.code & 0xFF
        elif end.code is not None:
            print(end.code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - there is nobody else to tell
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # the host is gone
    os._exit(code)


def main(arguments: list[str]) -> None:
    """Serve until the socket ends; in forked processes, be a worker."""
    if not arguments:
        raise SystemExit("usage: python3 -m poolproof_worker.fork_server worker.py [module...] [-- argument...]")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    server = ForkServer(_claim())
    _load(arguments[0], arguments[1:end], arguments[end + 1 :])
    if server.serve():
        _live()


if __name__ == "__main__":
    main(sys.argv[1:])
