"""The channel: claiming it, frames good and bad, and the ways to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import unittest

from support import LIBRARY, Worker, WorkerCase, encode

sys.path.insert(0, str(LIBRARY))

SOURCE = r"""
import os, sys, time
print("stray print at import")
from poolproof_worker import _channel, method, on_stop, run, session

@method
def echo(text): return text

@method
def noise():
    for i in range(5000):
        print("stray line", i)
        sys.stderr.write(f"error line {i}\n")
        os.write(1, b"\x00\x00\x00\x02{}\n")
    return True

@method
def descriptors():
    kept = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            kept[name] = [os.readlink("/proc/self/fd/" + name), os.get_inheritable(int(name))]
        except OSError:
            pass
    return [kept, sorted(os.environ)]

@method
def hang():
    try:
        print("hanging")  # within: who reads the word may end us before the line is whole
        time.sleep(600)
    finally:
        print("cleaned up")

@method
def stubborn():
    try:
        print("hanging")
        time.sleep(600)
    finally:
        print("cleaning")
        time.sleep(0.2)
        print("cleaned up")

@method
def fork():
    child = os.fork()
    if child == 0:
        from poolproof_worker import cancelled, notify, progress
        progress("from the child")
        assert notify("x", None) is False and cancelled() is False
        os.write(_channel.claimed._replies, b"garbage")
        os._exit(0)
    return os.waitpid(child, 0)[1]

@method
def fork_and_return():
    child = os.fork()
    return os.waitpid(child, 0)[1] if child else 0

@method
def parallel():
    import multiprocessing
    for _ in range(10):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            result = pool.map(abs, [-1, -2, -3])
    return result

@method
def fork_and_term():
    import signal
    statuses = []
    for _ in range(200):
        child = os.fork()
        if child == 0:
            time.sleep(600)
        os.kill(child, signal.SIGTERM)  # at once, so that some are not ready for it
        statuses.append(os.waitpid(child, 0)[1])
    return [sorted(set(statuses)), sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))]

@on_stop
def stopped(): print("stopped")

run()
"""


class Channel(WorkerCase):
    def test_noise_never_shifts_a_frame(self) -> None:
        for stdio in (False, True):
            with self.subTest(stdio=stdio):
                worker = self.start(SOURCE, greet=False, stdio=stdio)
                if stdio:  # the print came before the claim, which is why the import is to be first
                    self.assertEqual(worker.read(22), b"stray print at import\n")
                worker.greet()
                self.assertIs(worker.call("noise").result, True)
                self.assertEqual(worker.call("echo", ["größe"]).result, "größe")
                said = worker.process.said()
                self.assertIn("stray line 4999", said)
                self.assertIn("error line 4999", said)

    def test_the_channel_is_claimed(self) -> None:
        for stdio in (False, True):
            with self.subTest(stdio=stdio):
                worker = self.start(SOURCE.replace('print("stray print at import")', ""), stdio=stdio)
                descriptors, environment = worker.call("descriptors").result
                self.assertNotIn("POOLPROOF_CHANNEL", environment)
                self.assertEqual(descriptors["0"][0], "/dev/null")
                self.assertEqual(descriptors["1"], descriptors["2"])
                pipes = {name: inherited for name, (what, inherited) in descriptors.items() if what.startswith("pipe:")}
                self.assertEqual(len(pipes), 2)
                self.assertEqual(set(pipes.values()), {False})

    def test_a_channel_that_is_none(self) -> None:
        for channel, text in (("3", "3"), ("a,b", "a,b"), ("700,701", "Bad file descriptor")):
            process = self.spawn([str(self.folder(SOURCE))], (), {"POOLPROOF_CHANNEL": channel})
            self.assertEqual(process.await_end(), 1)
            self.assertIn(text, process.said())
            self.assertIn("started by a poolproof host?", process.said())
        process = self.spawn([str(self.folder(SOURCE))], (), {})
        self.assertEqual(process.await_end(), 1)
        self.assertIn("POOLPROOF_CHANNEL is not set", process.said())

    def test_frames_that_come_in_pieces(self) -> None:
        worker = self.start(SOURCE)
        worker.last += 2
        for number, text in ((2, "x"), (3, "y" * 300_000)):
            data = encode({"jsonrpc": "2.0", "id": number, "method": "echo", "params": [text]})
            for cut in (1, 2, 5, 9, len(data) - 3):
                worker.write(data[:cut])
                data = data[cut:]
            worker.write(data)
            self.assertEqual(worker.receive().result, text)
        worker.write(b"".join(encode({"jsonrpc": "2.0", "id": n, "method": "echo", "params": [n]}) for n in (4, 5, 6)))
        self.assertEqual([worker.receive().result for _ in range(3)], [4, 5, 6])

    def test_stale_notifications_are_ignored(self) -> None:
        worker = self.start(SOURCE)
        worker.notify("cancel", id=1)
        worker.notify("credit", id=1, chunks=1)
        worker.notify("unheard_of")
        self.assertEqual(worker.call("echo", ["x"]).result, "x")

    def check_end(self, worker: Worker, data: bytes, code: int, text: str) -> None:
        try:
            worker.write(data)
        except BrokenPipeError:
            pass
        os.close(worker.requests)
        worker.requests = -1
        self.check_exit(worker, code, text)
        self.assertIn("stopped", worker.process.said())

    def test_ends_of_file(self) -> None:
        self.check_end(self.start(SOURCE), b"", 0, "")
        for data in (b"\0", b"\0\0\0\5ab", b"\0\1\0\0" + b"x" * 10_000):
            self.check_end(self.start(SOURCE), data, 1, "end of file inside a frame")

    def test_bad_frames_end_the_worker(self) -> None:
        def frame(body: bytes) -> bytes:
            return len(body).to_bytes(4, "big") + body

        for data, text in (
            (b"\xff\xff\xff\xff", "exceeds the limit of 16777216"),
            (b"\x01\0\0\1", "a frame of 16777217 bytes exceeds"),
            (frame(b""), "malformed"),
            (frame(b"nonsense"), "malformed"),
            (frame(b'{"id":2,'), "malformed"),
            (frame(b'{"a":"\xff"}'), "malformed"),
            (frame('{"jsonrpc":"2.0","id":2,"method":"ping"}'.encode("utf-16")), "malformed"),
            (frame(b'{"a":NaN}'), "malformed"),
            (frame(b"[" * 100_000), "malformed"),
            (frame(b"7"), "malformed"),
            (frame(b"{}"), "malformed"),
            (frame(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), "id 1 after 1"),
            (frame(b'{"jsonrpc":"2.0","id":"2","method":"ping"}'), "id '2' after 1"),
            (frame(b'{"jsonrpc":"2.0","id":true,"method":"ping"}'), "id True after 1"),
            (frame(b"\0"), "inside its header"),
            (frame(b"\0\0\0\5{}"), "inside its header"),
            (frame(b"\0\0\0\2[]x"), "malformed"),
            (frame(b'{"jsonrpc":"2.0","id":2,"method":"echo","shared":[0,1]}'), "shared memory"),
        ):
            with self.subTest(data=data[:60]):
                self.check_end(self.start(SOURCE), data, 1, text)

    def test_term_ends_a_call(self) -> None:
        for method in ("hang", "stubborn"):
            worker = self.start(SOURCE)
            worker.request(method)
            worker.await_said("hanging")
            worker.process.terminate()
            if method == "stubborn":
                worker.await_said("cleaning")
                worker.process.terminate()  # does not interrupt what the first one began
            self.check_exit(worker, 0, "cleaned up\nstopped\n")
            self.assertNotIn("Traceback", worker.process.said())

    def test_term_ends_an_idle_worker(self) -> None:
        worker = self.start(SOURCE)
        worker.process.terminate()
        self.check_exit(worker, 0, "stopped")

    def test_the_host_goes_amid_a_call(self) -> None:
        worker = self.start(SOURCE)
        worker.request("noise")
        worker.close()
        self.check_exit(worker, 0, "stopped")
        self.assertNotIn("Traceback", worker.process.said())

    def test_forks_leave_the_channel_alone(self) -> None:
        worker = self.start(SOURCE)
        for method in ("fork", "fork_and_return"):
            self.assertEqual(worker.call(method).result, 0)
        self.assertNotIn("stopped", worker.process.said())
        self.assertEqual(worker.call("parallel").result, [1, 2, 3])
        self.assertEqual(worker.call("fork_and_term").result, [[signal.SIGTERM], []])
        self.assertEqual(worker.call("echo", [1]).result, 1)

    def test_processes_of_the_worker_do_not_hold_the_channel(self) -> None:
        worker = self.start(
            "import os\nfrom poolproof_worker import method, run\n"
            "@method\ndef spawn(): return os.posix_spawnp('sleep', ['sleep', '600'], os.environ)\nrun()"
        )
        child = worker.call("spawn").result
        worker.process.send_signal(signal.SIGKILL)
        self.assertEqual(worker.read(1), b"")  # the end of file, though the child lives
        os.kill(child, 0)
        os.killpg(worker.process.pid, signal.SIGKILL)


class Codec(unittest.TestCase):
    """The codec beneath json does what json does."""

    VALUES = (None, True, 0, -(1 << 70), 1.5, 1e300, "", "größe \u2028 \"\\\n\x01\x7f", [], {}, {"a": [1, {"b": None}]}, {1: 2}, (1, 2))

    def test_it_is_in_use(self) -> None:
        from poolproof_worker import _messages

        self.assertEqual(_messages._decode.__module__, "poolproof_worker._messages")
        program = "import sys, poolproof_worker; print([name for name in ('json', 're', 'enum', 'os') if name in sys.modules])"
        out = subprocess.run(
            [sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(LIBRARY)}, capture_output=True, check=True
        )
        self.assertEqual(out.stdout, b"[]\n", "slow imports have crept in")

    def test_it_agrees_with_json(self) -> None:
        from poolproof_worker import _messages

        decode, encode = _messages._json_module()
        for value in self.VALUES:
            text = _messages._encode(value)
            self.assertEqual(text, encode(value))
            for spaced in (text, f" {text}\n"):
                self.assertEqual(_messages._decode(spaced), decode(spaced))
        for text in ("", " ", "{", "[1,]", '{"a":1}x', "NaN", "-Infinity", '"\x01"', "01", "\ufeff{}"):
            for function in (decode, _messages._decode):
                with self.assertRaises(ValueError, msg=repr(text)):
                    function(text)
        for value in (float("nan"), float("inf"), b"x", {(1,): 2}, {1, 2}):
            for function in (encode, _messages._encode):
                with self.assertRaises((TypeError, ValueError), msg=repr(value)):
                    function(value)
