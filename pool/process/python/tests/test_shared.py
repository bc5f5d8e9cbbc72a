"""Payloads in shared memory."""

from __future__ import annotations

import mmap
import os
from typing import Any, Optional

from support import Message, Worker, WorkerCase

SOURCE = r"""
from poolproof_worker import Result, method, run

kept = []

@method(payload=True)
def raw_echo(payload): return payload

@method(payload=True)
def slices(payload):
    kept.append(payload[:4])
    return payload[::-1]

@method(payload=True)
def write(payload): payload[0] = 1

@method
def blob(n, value=None): return Result(value, b"b" * n)

@method
def stream(n): yield b"s" * n

run()
"""

HALF = 1 << 20


class Shared(WorkerCase):
    memory: mmap.mmap
    worker: Worker

    def open(self, said: Optional[dict[str, Any]] = None) -> list[str]:
        """Start a worker with shared memory; return its features."""
        size = 2 * HALF
        descriptor = os.memfd_create("test", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            self.memory = mmap.mmap(descriptor, size)
            self.addCleanup(self.memory.close)
            offer = {"descriptor": descriptor, "bytes": size, **(said or {})}
            self.worker = self.start(SOURCE, inherited=(descriptor,), shared_memory=offer)
        finally:
            os.close(descriptor)
        features: list[str] = self.worker.hello["features"]
        return features

    def call(self, method: str, payload: bytes, offset: int = 0, params: Any = None) -> tuple[Message, Optional[bytes]]:
        """Call a method with a payload in shared memory; return the reply and its payload."""
        self.memory[offset : offset + len(payload)] = payload
        reply = self.worker.call(method, params, shared=[offset, len(payload)])
        return reply, self.payload(reply)

    def payload(self, reply: Message) -> Optional[bytes]:
        if "shared" not in reply.body:
            return reply.payload
        self.assertIsNone(reply.payload)
        offset, count = reply.body["shared"]
        self.assertTrue(HALF <= offset <= offset + count <= 2 * HALF)
        return self.memory[offset : offset + count]

    def test_round_trips(self) -> None:
        self.assertIn("shared_memory", self.open())
        for size in (0, 1, 32767, 32768, HALF):
            data = os.urandom(size)
            reply, got = self.call("raw_echo", data, HALF - size)
            self.assertEqual(got, data)
            self.assertEqual("shared" in reply.body, size >= 32768)
            self.assertEqual(self.memory[HALF - size : HALF], data, "the request's payload has changed")
        reply, got = self.call("slices", bytes(range(256)) * 256)
        self.assertEqual(got, bytes(range(255, -1, -1)) * 256)
        self.assertIn("read-only", self.call("write", b"x")[0].error["message"])

    def test_what_does_not_fit_goes_in_frames(self) -> None:
        self.open()
        reply = self.worker.call("blob", [HALF + 1, "v"])
        self.assertEqual((reply.result, reply.payload), ("v", b"b" * (HALF + 1)))
        reply = self.worker.call("blob", [HALF, "v"])
        self.assertEqual((reply.result, self.payload(reply)), ("v", b"b" * HALF))
        number = self.worker.request("stream", [HALF], stream={"window": 2})
        self.assertEqual(self.worker.receive().payload, b"s" * HALF)
        self.assertEqual(self.worker.receive().body["id"], number)
        self.assertEqual(self.worker.call("raw_echo", None, b"x" * 70_000).result, None)

    def test_ranges_are_checked(self) -> None:
        for shared in (
            [0, HALF + 1], [HALF, 1], [-1, 5], [0, -1], [1 << 70, 1], [0], [0, 1, 2], "0,1", None, [0.0, 1], [True, 1],
        ):
            with self.subTest(shared=shared):
                self.open()
                self.worker.request("raw_echo", shared=shared)
                self.check_exit(self.worker, 1, "shared")

    def test_a_shared_payload_beside_another(self) -> None:
        self.open()
        self.worker.request("raw_echo", None, b"x", shared=[0, 1])
        self.check_exit(self.worker, 1, "shared memory where there can be none")

    def test_offers_that_are_none_are_not_taken(self) -> None:
        for said in ({"bytes": HALF}, {"bytes": 4 * HALF}, {"bytes": "2"}, {"descriptor": 900}, {"descriptor": None}, {"bytes": 0}):
            with self.subTest(said=said):
                self.assertNotIn("shared_memory", self.open(said))
                self.assertEqual(self.worker.call("raw_echo", None, b"y").payload, b"y")

    def test_the_descriptor_is_claimed(self) -> None:
        self.open()
        names = set(os.listdir(f"/proc/{self.worker.process.pid}/fd"))
        links = [os.readlink(f"/proc/{self.worker.process.pid}/fd/{name}") for name in names]
        self.assertEqual(sum("memfd" in link for link in links), 1, links)
