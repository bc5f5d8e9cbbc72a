"""Streams, credit, progress and cancelling, of ordinary and of async methods."""

from __future__ import annotations

from typing import Any

from support import Worker, WorkerCase, eventually

SOURCE = r"""
import asyncio, time
from poolproof_worker import Cancelled, Chunk, cancelled, check_cancelled, method, on_stop, progress, run

@method
def count(n, size=0, last=None):
    for i in range(n):
        print("made", i)
        yield Chunk(i, bytes([i % 256]) * size) if size else i
    return last

@method
def blobs():
    yield b"one"
    yield Chunk(payload=bytearray(b"two"))
    yield None
    return b"end"

@method
def breaks(at):
    yield from range(at)
    raise ValueError("broken")

@method
def awkward(how):
    try:
        yield 1
        yield {2} if how == "odd" else "x" * 5000 if how == "large" else 2
    except Cancelled:
        print("told of the cancel")
        if how == "answer":
            return "answer"
        if how == "goes on":
            yield 3
        raise
    except Exception as error:
        print("told", type(error).__name__, error)
        raise
    finally:
        print("closed")

@method
def plain(): return 7

@method(cancellable=True)
def busy():
    print("busy")
    while not cancelled():
        time.sleep(0.001)
    return "gave up"

@method(cancellable=True)
def nap(seconds):
    print("napping")
    check_cancelled(within=seconds)
    return True

@method
def survivor():
    print("trying")
    try:
        check_cancelled(within=600)
    except Exception:
        return "swallowed"

@method
def steps(n):
    for i in range(n):
        progress({"step": i})
    return n

@method
def bad_progress(): progress({1, 2})

@method
def large_progress(): progress("x" * 5000)

@method
async def a_add(a, b=1):
    await asyncio.sleep(0)
    return a + b

@method
async def a_blob(): return b"blob"

@method
async def a_nap():
    try:
        print("napping")  # within: who reads the word may end us before the line is whole
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.01)
        print("woken")

@method
async def a_busy():
    print("busy")
    while not cancelled():
        await asyncio.sleep(0.001)

@method
async def a_self():
    raise asyncio.CancelledError

@method
async def a_count(n, size=0):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            print("made", i)
            yield Chunk(i, bytes(size)) if size else i
    finally:
        print("closed")

@method
async def a_step():
    progress(1)
    await asyncio.sleep(0)
    progress(2)

ticks = 0

async def tick():
    global ticks
    try:
        while True:
            await asyncio.sleep(0.001)
            ticks += 1
    finally:
        print("ticker ended")

@method
async def start_ticking():
    global ticker
    ticker = asyncio.get_running_loop().create_task(tick())

@method
def ticked(): return ticks

@on_stop
async def stopped():
    await asyncio.sleep(0)
    print("stopped async")

run()
"""


class StreamCase(WorkerCase):
    worker: Worker

    def setUp(self) -> None:
        self.worker = self.start(SOURCE, limit=4000)

    def open(self, method: str, params: Any, window: int) -> int:
        """Begin a stream."""
        return self.worker.request(method, params, stream={"window": window})

    def chunk(self, number: int, seq: int, value: Any, payload: Any = None) -> None:
        """Demand that the next message is this chunk."""
        message = self.worker.receive()
        params = {"id": number, "seq": seq, "value": value}
        if value is ...:
            del params["value"]
        self.assertEqual(message.body, {"jsonrpc": "2.0", "method": "chunk", "params": params})
        self.assertEqual(message.payload, payload)

    def end(self, number: int) -> Any:
        """Demand that the next message is the reply, and return it."""
        message = self.worker.receive()
        self.assertEqual(message.body.get("id"), number, message)
        return message

    def cancel(self, number: int) -> None:
        """Cancel a call."""
        self.worker.notify("cancel", id=number)

    def check_alive(self) -> None:
        """Demand that the worker answers."""
        self.assertEqual(self.worker.call("plain").result, 7)


class Streams(StreamCase):
    METHODS = ("count", "a_count")

    def test_values(self) -> None:
        for method in self.METHODS:
            number = self.open(method, [3], 8)
            for i in range(3):
                self.chunk(number, i, i)
            self.assertIsNone(self.end(number).result)
            number = self.open(method, [0], 0)
            self.assertIsNone(self.end(number).result)
        number = self.open("count", {"n": 0, "last": "x"}, 1)
        self.assertEqual(self.end(number).result, "x")

    def test_payloads(self) -> None:
        for method in self.METHODS:
            number = self.open(method, [1, 3], 8)
            self.chunk(number, 0, 0, b"\0\0\0")
            self.assertIsNone(self.end(number).result)
        number = self.open("blobs", [], 8)
        self.chunk(number, 0, ..., b"one")
        self.chunk(number, 1, ..., b"two")
        self.chunk(number, 2, None)
        self.assertEqual(self.end(number).payload, b"end")

    def test_back_pressure(self) -> None:
        for method in self.METHODS:
            with self.subTest(method=method):
                number = self.open(method, [6], 2)
                self.chunk(number, 0, 0)
                self.chunk(number, 1, 1)
                made = self.worker.process.said
                self.worker.await_said("made 2")
                self.assertFalse(self.worker.readable(0.05), "a chunk without credit")
                self.assertNotIn("made 3", made(), "made ahead of the credit")
                self.worker.notify("credit", id=number - 1, chunks=5)  # stale
                self.worker.notify("credit", id=number, chunks=1)
                self.chunk(number, 2, 2)
                self.worker.notify("credit", id=number, chunks=3)
                for i in (3, 4, 5):
                    self.chunk(number, i, i)
                self.assertIsNone(self.end(number).result, "the end needs credit")
                self.worker.notify("credit", id=number, chunks=9)
                self.check_alive()
            self.worker = self.start(SOURCE, limit=4000)

    def test_errors_end_a_stream(self) -> None:
        number = self.open("breaks", [1], 5)
        self.chunk(number, 0, 0)
        self.assertIn("broken", self.end(number).error["message"])
        for how, code in (("odd", -32603), ("large", -32001)):
            number = self.open("awkward", [how], 5)
            self.chunk(number, 0, 1)
            self.assertEqual(self.end(number).error["code"], code)
            self.worker.await_said("told MethodError")
        self.assertEqual(self.worker.process.said().count("closed"), 2)
        self.check_alive()

    def test_streams_that_are_none(self) -> None:
        for window in (None, -1, "2", True):
            number = self.worker.request("plain", stream={"window": window})
            self.assertEqual(self.end(number).error["code"], -32600)
        number = self.open("plain", None, 1)
        self.assertEqual(self.end(number).result, 7)

    def test_without_stream_values_are_gathered(self) -> None:
        for method in self.METHODS:
            self.assertEqual(self.worker.call(method, [3]).result, [0, 1, 2])
            self.assertEqual(self.worker.call(method, [3, 5]).error["code"], -32602)
            self.assertEqual(self.worker.call(method, [10_000]).error["code"], -32001)

    def test_cancel_while_out_of_credit(self) -> None:
        for method, params in (("count", [9]), ("a_count", [9]), ("awkward", ["goes on"]), ("awkward", ["raise"])):
            number = self.open(method, params, 1)
            self.worker.receive()
            self.cancel(number)
            self.assertEqual(self.end(number).error["code"], -32003)
            self.check_alive()
        self.assertEqual(self.worker.process.said().count("told of the cancel"), 2)
        self.assertEqual(self.worker.process.said().count("closed"), 3)

    def test_a_cancelled_stream_may_answer(self) -> None:
        number = self.open("awkward", ["answer"], 1)
        self.chunk(number, 0, 1)
        self.cancel(number)
        self.assertEqual(self.end(number).result, "answer")

    def test_the_host_goes_amid_a_stream(self) -> None:
        for method in self.METHODS:
            worker = self.worker = self.start(SOURCE)
            number = self.open(method, [9], 1)
            self.chunk(number, 0, 0)
            worker.close()
            self.check_exit(worker, 0, "stopped async")
            self.assertNotIn("Traceback", worker.process.said())

    def test_a_bad_credit_ends_the_worker(self) -> None:
        for method in self.METHODS:
            worker = self.worker = self.start(SOURCE)
            number = self.open(method, [9], 1)
            worker.notify("credit", id=number, chunks=-1)
            self.check_exit(worker, 1, "a credit of -1 chunks")

    def test_a_second_request_ends_the_worker(self) -> None:
        for method in self.METHODS:
            worker = self.worker = self.start(SOURCE)
            number = self.open(method, [9], 0)
            worker.request("plain")
            self.check_exit(worker, 1, f"request {number} is not answered")


class Cancelling(StreamCase):
    def test_cancellable_is_announced(self) -> None:
        self.assertEqual(
            self.worker.hello["cancellable"], ["a_add", "a_blob", "a_busy", "a_nap", "a_self", "a_step", "busy", "nap", "start_ticking"]
        )

    def test_methods_that_ask(self) -> None:
        for method, params, said in (("busy", None, "busy"), ("nap", [600], "napping"), ("survivor", None, "trying")):
            number = self.worker.request(method, params)
            self.worker.await_said(said)
            self.cancel(number + 1)  # not under way
            self.cancel(number)
            reply = self.end(number)
            if method == "busy":
                self.assertEqual(reply.result, "gave up")
            else:
                self.assertEqual(reply.error, {"code": -32003, "message": "the call was cancelled"})
        self.assertIs(self.worker.call("nap", [0.01]).result, True)
        self.assertIs(self.worker.call("nap", [0]).result, True)

    def test_async_methods(self) -> None:
        for method, said in (("a_nap", "napping"), ("a_busy", "busy")):
            number = self.worker.request(method)
            self.worker.await_said(said)
            self.cancel(number)
            self.assertEqual(self.end(number).error["code"], -32003)
        self.assertIn("woken", self.worker.process.said())
        self.assertIn("by itself", self.worker.call("a_self").error["message"])
        self.check_alive()

    def test_the_host_goes_amid_a_call(self) -> None:
        for method, said in (("busy", "busy"), ("nap", "napping"), ("a_nap", "napping"), ("survivor", "trying")):
            worker = self.start(SOURCE)
            worker.request(method, [600] if method == "nap" else None)
            worker.await_said(said)
            worker.close()
            self.check_exit(worker, 0, "stopped async")
            self.assertNotIn("Traceback", worker.process.said())


class Async(StreamCase):
    def test_results(self) -> None:
        self.assertEqual(self.worker.call("a_add", [1]).result, 2)
        self.assertEqual(self.worker.call("a_add", {"a": 1, "b": 5}).result, 6)
        self.assertEqual(self.worker.call("a_add", {"c": 1}).error["code"], -32602)
        self.assertIn("in a_add", self.worker.call("a_add", ["x"]).error["data"]["traceback"])
        self.assertEqual(self.worker.call("a_blob").payload, b"blob")

    def test_asyncio_is_not_imported_in_vain(self) -> None:
        worker = self.start("import sys\nfrom poolproof_worker import method, run\n@method\ndef has(): return 'asyncio' in sys.modules\nrun()")
        self.assertIs(worker.call("has").result, False)

    def test_tasks_go_on_between_calls(self) -> None:
        self.worker.call("start_ticking")
        eventually(lambda: self.worker.call("ticked").result > 2, "the task goes on")
        self.worker.close()
        self.check_exit(self.worker, 0, "ticker ended")

    def test_term_ends_an_async_call(self) -> None:
        for method in ("a_nap", "a_count"):
            worker = self.worker = self.start(SOURCE)
            if method == "a_nap":
                worker.request(method)
                worker.await_said("napping")
            else:
                self.chunk(self.open(method, [9], 1), 0, 0)
                worker.await_said("made 1")
            worker.process.terminate()
            self.check_exit(worker, 0, "woken" if method == "a_nap" else "closed")
            self.assertIn("stopped async", worker.process.said())
            self.assertNotIn("Traceback", worker.process.said())


class Progress(StreamCase):
    def test_progress(self) -> None:
        for method, params, values in (("steps", [3], [{"step": 0}, {"step": 1}, {"step": 2}]), ("a_step", None, [1, 2])):
            number = self.worker.request(method, params)
            for value in values:
                want = {"jsonrpc": "2.0", "method": "progress", "params": {"id": number, "value": value}}
                self.assertEqual(self.worker.receive().body, want)
            self.end(number)
        self.assertIn("TypeError", self.worker.call("bad_progress").error["message"])
        self.assertIn("frame limit", self.worker.call("large_progress").error["message"])
