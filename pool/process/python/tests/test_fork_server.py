"""The fork server, with a host that is a socket."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from typing import Any

from support import LIBRARY, PATIENCE, Process, Wire, WorkerCase, eventually

SOURCE = r"""
import atexit, os, random, signal, sys, threading, time
print("loaded by", os.getpid(), __name__)
from poolproof_worker import method, on_start, on_stop, run, session
import poolproof_worker._channel as channel

loaded_by = os.getpid()
session("before")["fork"] = [1]
random.seed(1)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def tell(what, end="\n"): print(f"{what} {os.getpid()}{end}", end="")  # in one piece: threads print at once

@method
def about():
    return {
        "pid": os.getpid(), "loaded_by": loaded_by, "group": os.getpgid(0), "session": os.getsid(0), "parent": os.getppid(),
        "fds": {n: os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)},
        "env": sorted(os.environ), "argv": sys.argv, "path": sys.path[0], "random": random.random(),
        "usr1": signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL, "state": session("before"), "name": __name__,
    }

@method
def put(key, value): session("before")[key] = value

@method(payload=True)
def raw_echo(payload): return payload

@method
def say(text): print(text)

@method
def leave(code): raise SystemExit(code)

@method
def linger():
    gate = threading.Event()
    threading.Thread(target=lambda: (gate.wait(), tell("thread ended in"))).start()
    atexit.register(lambda: tell("exit function in", end=""))
    on_stop(gate.set)

@method
def stop_badly():
    def bad(): raise ValueError("stopped badly")
    on_stop(bad)

atexit.register(lambda: tell("exit function of the server in"))

@on_start
def started(): tell("started in")

@on_stop
def stopped(): tell("stopped in")

if __name__ == "__main__":
    run()
"""


class Server(WorkerCase):
    """A fake host."""

    process: Process
    host: socket.socket

    def serve(self, source: str, *arguments: str, by_path: bool = False) -> None:
        """Start a server."""
        self.host, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.host.close)
        program = self.folder(source)
        how = [str(LIBRARY / "poolproof_worker" / "fork_server.py")] if by_path else ["-m", "poolproof_worker.fork_server"]
        with theirs:
            self.process = self.spawn(
                [*how, str(program), *arguments], (theirs.fileno(),), {"POOLPROOF_FORK_SERVER": str(theirs.fileno())}
            )
        self.program = program

    def receive(self) -> tuple[Any, list[int]]:
        """Return the next packet, and its descriptors."""
        if not select.select([self.host], [], [], PATIENCE)[0]:
            raise AssertionError(f"the server is silent: {self.process.said()}")
        packet, descriptors, _, _ = socket.recv_fds(self.host, 1 << 16, 4)
        return json.loads(packet) if packet else None, descriptors

    def send(self, message: Any, *descriptors: int) -> None:
        """Send a packet."""
        socket.send_fds(self.host, [json.dumps(message).encode()], descriptors)

    def ready(self) -> None:
        """Demand that the server is ready."""
        self.assertEqual(self.receive()[0], {"ready": {"protocol": 1, "pid": self.process.pid}})

    def fork(self, key: int, shared: int = -1) -> Forked:
        """Have a worker forked, and say hello."""
        requests, replies = os.pipe(), os.pipe()
        descriptors = [requests[0], replies[1], self.process.output.fileno()] + ([shared] if shared >= 0 else [])
        self.send({"fork": {"key": key}}, *descriptors)
        os.close(requests[0])
        os.close(replies[1])
        answer, pidfds = self.receive()
        self.assertEqual((list(answer), answer["forked"]["key"], len(pidfds)), (["forked"], key, 1), answer)
        worker = Forked(requests[1], replies[0])
        worker.pid, worker.pidfd, worker.key = answer["forked"]["pid"], pidfds[0], key
        self.addCleanup(worker.close)
        self.addCleanup(os.close, worker.pidfd)
        offer: dict[str, Any] = {"shared_memory": {"descriptor": 5, "bytes": os.fstat(shared).st_size}} if shared >= 0 else {}
        worker.greet(**offer)
        return worker

    def await_death(self, worker: Forked) -> None:
        """Wait until a worker's pidfd says that it is dead."""
        self.assertTrue(select.select([worker.pidfd], [], [], PATIENCE)[0], "a worker lives on")

    def reap(self, worker: Forked) -> int:
        """Have a worker reaped and return its status."""
        self.await_death(worker)
        self.send({"reap": {"key": worker.key}})
        answer, _ = self.receive()
        self.assertEqual((list(answer), answer["reaped"]["key"]), (["reaped"], worker.key), answer)
        return int(answer["reaped"]["status"])

    def check_end(self, code: int, text: str = "") -> None:
        """Demand that the server exits."""
        self.assertEqual(self.process.await_end(), code, self.process.said())
        self.assertIn(text, self.process.said())


class Forked(Wire):
    """A worker that was forked."""

    pid: int
    pidfd: int
    key: int


class ForkServer(Server):
    def test_workers(self) -> None:
        for by_path in (False, True):
            self.serve(SOURCE, "colorsys", "--", "an", "argument", by_path=by_path)
            self.ready()
            first, second = self.fork(1), self.fork(7)
            about = [worker.call("about").result for worker in (first, second)]
            for worker, it in zip((first, second), about):
                self.assertEqual(it["pid"], worker.pid)
                self.assertEqual((worker.hello["pid"], it["group"]), (worker.pid, worker.pid))
                self.assertEqual((it["parent"], it["loaded_by"]), (self.process.pid, self.process.pid))
                self.assertEqual(it["session"], os.getsid(0))
                self.assertEqual(it["argv"], [str(self.program), "an", "argument"])
                self.assertEqual(it["path"], str(self.program.parent))
                self.assertEqual(it["state"], {"fork": [1]})
                self.assertFalse({"POOLPROOF_CHANNEL", "POOLPROOF_FORK_SERVER"} & set(it["env"]))
                self.assertTrue(it["usr1"], "a signal is handled as while loading")
                kinds = sorted(target.split(":")[0].split(" ")[0].split("/")[1 if target[0] == "/" else 0] for target in it["fds"].values())
                self.assertNotIn("socket", kinds, "the server's socket is open")
                self.assertEqual((kinds.count("pipe"), kinds.count("dev")), (2, 2), it["fds"])
                self.assertEqual(it["fds"]["0"], "/dev/null")
            self.assertNotEqual(about[0]["random"], about[1]["random"])
            self.assertNotEqual(first.hello["instance"], second.hello["instance"])
            first.call("put", ["x", 1])
            self.assertEqual(second.call("about").result["state"], {"fork": [1]}, "state is shared")
            self.assertEqual(self.process.said().count("loaded by"), 1)
            self.host.close()
            self.check_end(0)

    def test_ends(self) -> None:
        self.serve(SOURCE)
        self.ready()
        closed, killed, termed, left = (self.fork(key) for key in range(4))
        closed.close()
        signal.pidfd_send_signal(killed.pidfd, signal.SIGKILL)
        os.kill(termed.pid, signal.SIGTERM)
        left.request("leave", [3])
        for worker in (closed, killed, termed, left):
            self.await_death(worker)
            os.kill(worker.pid, 0)  # dead and not reaped: the number is still its own
        self.assertEqual([self.reap(worker) for worker in (left, killed, termed, closed)], [3 << 8, 9, 0, 0])
        for worker in (closed, termed, left):
            self.assertIn(f"stopped in {worker.pid}\n", self.process.said())
        for method in ("linger", "stop_badly"):
            worker = self.fork(9)
            worker.call(method)
            worker.close()
            self.assertEqual(self.reap(worker), 0 if method == "linger" else 1 << 8)
            said = self.process.said()
            if method == "linger":
                thread, exiting = (said.find(f"{what} in {worker.pid}") for what in ("thread ended", "exit function"))
                self.assertTrue(0 < thread < exiting, said)
            else:
                self.assertIn("ValueError: stopped badly", said)
        left = self.fork(9)
        left.request("leave", ["a message"])
        self.assertEqual(self.reap(left), 1 << 8)
        self.assertIn("a message\n", self.process.said())
        again = self.fork(0)  # a key may come again
        again.call("say", ["hello from a worker"])
        self.assertIn("hello from a worker", self.process.said())
        self.assertNotIn("exit function of the server", self.process.said())
        self.host.close()
        self.check_end(0, f"exit function of the server in {self.process.pid}\n")

    def test_all_end_with_the_server(self) -> None:
        for how in ("socket", "kill"):
            self.serve(SOURCE)
            self.ready()
            workers = [self.fork(key) for key in range(3)]
            if how == "socket":
                self.host.close()
                self.check_end(0)
            else:
                os.kill(self.process.pid, signal.SIGKILL)
                self.check_end(-9)
            for worker in workers:
                self.await_death(worker)

    def test_shared_memory(self) -> None:
        self.serve(SOURCE)
        self.ready()
        shared = os.memfd_create("test", os.MFD_CLOEXEC)
        self.addCleanup(os.close, shared)
        os.ftruncate(shared, 1 << 20)
        worker = self.fork(1, shared)
        self.assertIn("shared_memory", worker.hello["features"])
        os.pwrite(shared, b"z" * 70_000, 0)
        reply = worker.call("raw_echo", shared=[0, 70_000])
        self.assertEqual(reply.body["shared"], [1 << 19, 70_000])
        self.assertEqual(os.pread(shared, 70_000, 1 << 19), b"z" * 70_000)

    def test_a_fork_that_fails(self) -> None:
        self.serve(
            SOURCE + "import errno\nfork, os.fork = os.fork, lambda: fail()\n"
            "def fail():\n    os.fork = fork\n    raise OSError(errno.EAGAIN, 'no more processes')\n"
        )
        self.ready()
        null = os.open(os.devnull, os.O_RDWR)
        self.addCleanup(os.close, null)
        for count, text in ((3, "no more processes"), (2, "2 descriptors"), (0, "0 descriptors"), (5, "5 descriptors")):
            self.send({"fork": {"key": 1}}, *[null] * count)
            answer, descriptors = self.receive()
            self.assertEqual((answer["failed"]["key"], descriptors), (1, []))
            self.assertIn(text, answer["failed"]["message"])
        for _ in range(3):
            worker = self.fork(1)
            worker.close()
            self.assertEqual(self.reap(worker), 0)
        fds = f"/proc/{self.process.pid}/fd"
        eventually(lambda: len(os.listdir(fds)) == 7, "the server has three, the socket, and a worker's reserved")

    def test_programs_that_cannot_be_loaded(self) -> None:
        for source, modules, text in (
            ("from poolproof_worker import run\nrun()", [], 'put it under if __name__ == "__main__"'),
            ("raise ValueError('bad model')", [], "bad model"),
            ("", ["no_such_module"], "no_such_module"),
        ):
            self.serve(source, *modules)
            self.assertIsNone(self.receive()[0])
            self.check_end(1, text)

    def test_packets_that_are_none(self) -> None:
        for packet in (
            b"x", b"7", b"{}", b'{"fork":{}}', b'{"fork":{"key":"1"}}', b'{"stop":{"key":1}}', b'{"reap":{"key":1}}', b'{"fork":7}',
        ):
            with self.subTest(packet=packet):
                self.serve("")
                self.ready()
                self.host.send(packet)
                self.check_end(1, "malformed packet")

    def test_run_by_hand(self) -> None:
        process = self.spawn(["-m", "poolproof_worker.fork_server", "worker.py"], (), {})
        self.assertEqual(process.await_end(), 1)
        self.assertIn("started by a poolproof host", process.said())
        process = self.spawn(["-m", "poolproof_worker.fork_server"], (), {})
        self.assertEqual(process.await_end(), 1)
        self.assertIn("usage", process.said())
