"""A host for tests: starts a worker and talks to it over pipes, as badly as a test likes."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, NamedTuple, Optional

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent
CACHE = tempfile.TemporaryDirectory()  # of compiled files
atexit.register(CACHE.cleanup)
PATIENCE = 30.0  # seconds; bounds waits that a passing test ends much sooner


class Message(NamedTuple):
    """A message, and the payload if it came in the binary form."""

    body: Any
    payload: Optional[bytes] = None

    @property
    def result(self) -> Any:
        """The result of a reply, which must not be an error."""
        if "result" not in self.body:
            raise AssertionError(f"got {self.body}, want a result")
        return self.body["result"]

    @property
    def error(self) -> Any:
        """The error of a reply, which must be one."""
        if "error" not in self.body:
            raise AssertionError(f"got {self.body}, want an error")
        return self.body["error"]


def encode(message: Any, payload: Optional[bytes] = None) -> bytes:
    """Return a frame."""
    body = json.dumps(message).encode()
    if payload is not None:
        body = len(body).to_bytes(4, "big") + body + payload
    return len(body).to_bytes(4, "big") + body


class Wire:
    """The host's end of a channel."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies
        self.last = 0
        self.hello: dict[str, Any] = {}

    def greet(self, limit: int = 16 << 20, **params: Any) -> dict[str, Any]:
        """Say hello."""
        self.hello = self.call("hello", {"protocol": 1, "frame_limit": limit, **params}).result
        return self.hello

    def write(self, data: bytes) -> None:
        """Write raw bytes."""
        while data:
            data = data[os.write(self.requests, data) :]

    def request(self, method: str, params: Any = None, payload: Optional[bytes] = None, **members: Any) -> int:
        """Send a request and return its id."""
        self.last += 1
        message = {"jsonrpc": "2.0", "id": self.last, "method": method, **members}
        if params is not None:
            message["params"] = params
        self.write(encode(message, payload))
        return self.last

    def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        self.write(encode({"jsonrpc": "2.0", "method": method, "params": params}))

    def readable(self, seconds: float) -> bool:
        """Whether something can be read within so long."""
        return bool(select.select([self.replies], [], [], seconds)[0])

    def read(self, count: int) -> bytes:
        """Read so many bytes, or fewer at the end of file."""
        data = b""
        while len(data) < count:
            if not self.readable(PATIENCE):
                raise AssertionError(f"the worker is silent after {data!r}")
            part = os.read(self.replies, count - len(data))
            if not part:
                break
            data += part
        return data

    def receive(self) -> Message:
        """Return the next message."""
        head = self.read(4)
        if len(head) < 4:
            raise EOFError(f"the worker closed the channel after {head!r}")
        body = self.read(int.from_bytes(head, "big"))
        if body[:1] != b"\0":
            return Message(json.loads(body))
        end = 4 + int.from_bytes(body[:4], "big")
        return Message(json.loads(body[4:end]), body[end:])

    def call(self, method: str, params: Any = None, payload: Optional[bytes] = None, **members: Any) -> Message:
        """Send a request and return the reply, which must be the next message."""
        number = self.request(method, params, payload, **members)
        reply = self.receive()
        if reply.body.get("id") != number:
            raise AssertionError(f"got {reply.body}, want the reply to {number}")
        return reply

    def close(self) -> None:
        """Close the channel."""
        for number in {self.requests, self.replies} - {-1}:
            os.close(number)
        self.requests = self.replies = -1


class WorkerCase(unittest.TestCase):
    """A test with workers, none of which outlives it."""

    def folder(self, source: str) -> Path:
        """Save a program, in a folder of its own, and return its path."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = Path(folder.name) / "program.py"
        program.write_text(source)
        return program

    def spawn(
        self, arguments: list[str], inherited: tuple[int, ...], env: dict[str, str], stdin: int = subprocess.DEVNULL,
        stdout: Optional[int] = None,
    ) -> Process:
        """Start Python in a group of its own."""
        output = tempfile.TemporaryFile()
        self.addCleanup(output.close)
        process = Process(
            [sys.executable, "-S", "-u", *arguments], pass_fds=inherited, start_new_session=False, close_fds=True,
            preexec_fn=os.setpgrp, stdin=stdin, stdout=output if stdout is None else stdout, stderr=output,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY), "PYTHONPYCACHEPREFIX": CACHE.name, **env},
        )
        process.output = output
        self.addCleanup(process.end)
        return process

    def start(self, source: str, *, greet: bool = True, stdio: bool = False, limit: int = 16 << 20,
              inherited: tuple[int, ...] = (), **params: Any) -> Worker:
        """Start a worker and say hello."""
        requests, replies = os.pipe(), os.pipe()
        child = (requests[0], replies[1])
        channel = "0,1" if stdio else "{},{}".format(*child)
        process = self.spawn(
            [str(self.folder(source))], inherited if stdio else (*child, *inherited), {"POOLPROOF_CHANNEL": channel},
            **({"stdin": child[0], "stdout": child[1]} if stdio else {}),
        )
        for number in child:
            os.close(number)
        worker = Worker(process, requests[1], replies[0])
        self.addCleanup(worker.close)
        if greet:
            worker.greet(limit, **params)
        return worker

    def check_exit(self, worker: Worker, code: int, text: str = "") -> None:
        """Demand that the worker exits with a code, having said something."""
        got = worker.process.await_end()
        said = worker.process.said()
        self.assertEqual((got, text in said), (code, True), said)


class Process(subprocess.Popen):  # type: ignore[type-arg]
    """A process whose output goes to a file."""

    output: Any

    def said(self) -> str:
        """What it has printed. It goes on at the file's position, which is not moved."""
        number = self.output.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")

    def await_end(self) -> int:
        """Wait until it is dead, end what is left of it, and return its exit code."""
        if self.returncode is None:
            ended = os.WEXITED | os.WNOWAIT | os.WNOHANG
            eventually(lambda: os.waitid(os.P_PID, self.pid, ended) is not None, "the process ends")
        self.end()
        return self.wait()

    def end(self) -> None:
        """Kill its group, of which it is the leader until it is reaped, and reap it."""
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


class Worker(Wire):
    """A worker process and the channel to it."""

    def __init__(self, process: Process, requests: int, replies: int) -> None:
        super().__init__(requests, replies)
        self.process = process

    def await_said(self, text: str) -> None:
        """Wait until the worker has printed a text."""
        eventually(lambda: text in self.process.said(), f"the worker says {text!r}")


def eventually(holds: Any, what: str) -> None:
    """Poll until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"it is not so that {what}")
        time.sleep(0.002)
