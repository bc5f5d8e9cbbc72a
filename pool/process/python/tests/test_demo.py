"""The demo's own methods."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

from support import LIBRARY, WorkerCase, eventually

SOURCE = (LIBRARY / "demo.py").read_text()


class Demo(WorkerCase):
    def test_methods(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.call("echo", {"text": "hi"}).result, {"text": "hi"})
        self.assertEqual(worker.call("echo", ["hi", 1]).result, ["hi", 1])
        self.assertEqual(worker.call("raw_echo", None, b"\0\1").payload, b"\0\1")
        self.assertEqual(worker.call("pid").result, worker.process.pid)
        self.assertIs(worker.call("put", {"session": "s", "key": "k", "value": [1]}).result, True)
        self.assertEqual(worker.call("get", {"session": "s", "key": "k"}).result, [1])
        self.assertIsNone(worker.call("get", {"session": "s", "key": "other"}).result)
        self.assertIs(worker.call("sleep", {"seconds": 0.001}).result, True)
        self.assertIs(worker.call("nap", {"seconds": 0.001}).result, True)
        self.assertEqual(worker.call("fail", {"code": 5, "message": "no"}).error, {"code": 5, "message": "no"})
        self.assertEqual(worker.hello["cancellable"], ["nap"])

    def test_streams_and_notifications(self) -> None:
        worker = self.start(SOURCE)
        number = worker.request("count", {"n": 2, "size": 3}, stream={"window": 8})
        chunks = [worker.receive() for _ in range(2)]
        self.assertEqual([(chunk.body["params"]["value"], chunk.payload) for chunk in chunks], [(0, bytes(3)), (1, bytes(3))])
        self.assertEqual(worker.receive().result, 2)
        number = worker.request("steps", {"n": 1})
        self.assertEqual(worker.receive().body["params"], {"id": number, "value": {"step": 0}})
        self.assertEqual(worker.receive().result, 1)
        worker.request("log", {"level": "warning", "message": "hello"})
        self.assertEqual(worker.receive().body["params"], {"level": "warning", "message": "hello", "logger": "demo"})
        self.assertIs(worker.receive().result, True)

    def test_mischief(self) -> None:
        worker = self.start(SOURCE)
        self.assertIs(worker.call("noise", {"bytes": 100_001}).result, True)
        self.assertEqual(len(worker.process.said()), 200_002)
        small = worker.call("hog", {"bytes": 0}).result
        self.assertGreaterEqual(worker.call("hog", {"bytes": 30 << 20}).result, small + (29 << 20))
        self.assertEqual(worker.call("exhaust", {"most": 2}).result, {"done": 2, "error": ""})
        limits = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (50, limits[1]))
        refused = worker.call("exhaust", {"most": 100}).result
        self.assertEqual(refused["error"], "EMFILE")
        self.assertLess(refused["done"], 50)
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, limits)
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "file")
            self.assertEqual(worker.call("write_file", {"path": file, "bytes": 9}).result, {"done": 9, "error": ""})
            self.assertEqual(os.path.getsize(file), 9)
            limits = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (5, limits[1]))
            self.assertEqual(worker.call("write_file", {"path": file, "bytes": 9}).result, {"done": 5, "error": "EFBIG"})
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, limits)
        child = worker.call("spawn").result
        self.assertEqual(os.getpgid(child), worker.process.pid)
        cmdline = Path(f"/proc/{child}/cmdline")
        eventually(lambda: cmdline.read_text() == "sleep\x003600\0", "the process sleeps")
        worker.request("crash", {"code": 9})
        self.check_exit(worker, 9)
