"""Methods, their params and results, sessions, hooks, batches."""

from __future__ import annotations

from typing import Any

from support import Worker, WorkerCase, encode

SOURCE = r"""
import functools, os
from poolproof_worker import MethodError, Result, method, on_session_ended, on_start, on_stop, run, session

@method
def add(a, b=1):
    return a + b

@method(name="named", cancellable=True)
def other():
    return "other"

@method()
def nothing(): pass

@method(payload=True)
def size(payload=None, times=1):
    return None if payload is None else len(payload) * times

kept = []

@method(payload=True)
def keep(payload):
    kept.append(payload)
    return payload.readonly

@method
def read_kept():
    return bytes(kept[0]).decode()

@method
def blob(n): return b"b" * n

@method
def both(n): return Result({"n": n}, bytearray(n))

@method
def scattered(): return Result(None, memoryview(b"abcdef")[::2])

@method
def words(): return memoryview(b"abcdefgh").cast("I")

@method
def unbytes(): return Result(None, "text")

@method
def put(session_id, value):
    session(session_id)["v"] = value

@method
def get(session_id):
    return session(session_id).get("v")

ended = []

@on_session_ended
def forget(name):
    ended.append((name, session(name).get("v")))
    if name == "bad":
        raise ValueError("bad session")

@method
def forgotten(): return ended

@method
def fail(what): raise ValueError(what)

@method
def refuse(code, data): raise MethodError("never", code, data)

@method
def odd(): return {1, 2}

@method
def nan(): return float("nan")

@method
def deep():
    value = []
    value.append(value)
    return value

@method
def surrogate(): return "\udc80"

@method
def text(n): return "x" * n

@method
def inner(): int([])

@method
def odd_error(): raise MethodError("no", 7, object())

@method
def huge(): raise MethodError("\x01" * 5000, 5, "d" * 5000)

@method
def leave(code): raise SystemExit(code)

@on_start
def started(): print("started")

@on_stop
def stopped_last(): print("stopped last")

@on_stop
def stopped_first(): print("stopped first")

run()
"""


class Methods(WorkerCase):
    def test_decorator_forms(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.call("named").result, "other")
        self.assertIsNone(worker.call("nothing").result)
        self.assertIn("session_ended", worker.hello["methods"])
        self.assertNotIn("other", worker.hello["methods"])
        self.assertEqual(worker.hello["cancellable"], ["named"])
        self.assertEqual(worker.hello["features"], ["binary", "batch", "stream"])
        self.assertEqual(worker.hello["pid"], worker.process.pid)
        self.assertEqual(worker.call("ping").result, {"instance": worker.hello["instance"]})

    def test_names_that_cannot_be(self) -> None:
        for line, complaint in (
            ("method(name='ping')(print)", "reserved"),
            ("method(name='a')(print); method(name='a')(len)", "already"),
        ):
            worker = self.start(f"from poolproof_worker import method\n{line}", greet=False)
            self.check_exit(worker, 1, complaint)

    def test_params(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.call("add", {"a": 2, "b": 3}).result, 5)
        self.assertEqual(worker.call("add", [2]).result, 3)
        for method, params, code, message in (
            ("add", {"c": 1}, -32602, "unexpected keyword"),
            ("add", [1, 2, 3], -32602, "positional"),
            ("add", "12", -32602, "object or an array"),
            ("absent", None, -32601, "absent"),
            ("inner", None, -32000, "TypeError"),
            ("fail", ["this"], -32000, "ValueError: this"),
            ("fail", ["\udc80"], -32000, "ValueError: "),
            ("odd", None, -32603, "not JSON"),
            ("nan", None, -32603, "not JSON"),
            ("deep", None, -32603, "not JSON"),
            ("surrogate", None, -32603, "not JSON"),
            ("unbytes", None, -32603, "no bytes"),
            ("odd_error", None, 7, "no"),
            ("refuse", ["five", None], -32000, "must be an integer"),
        ):
            error = worker.call(method, params).error
            self.assertEqual((error["code"], message in error["message"]), (code, True), error)
        self.assertIn("in fail", worker.call("fail", ["x"]).error["data"]["traceback"])
        self.assertEqual(
            worker.call("refuse", [5, {"a": 1}]).error, {"code": 5, "message": "never", "data": {"a": 1}}
        )

    def test_results_that_are_too_large(self) -> None:
        worker = self.start(SOURCE, limit=2000)
        self.assertEqual(len(worker.call("text", [1900]).result), 1900)
        for method in ("text", "blob", "both"):
            error = worker.call(method, [1990]).error
            self.assertEqual(error["code"], -32001, error)
        error = worker.call("fail", ["x" * 1700]).error
        self.assertEqual((len(error["message"]), "data" in error), (len("ValueError: ") + 1700, False))
        error = worker.call("huge").error
        self.assertEqual((error["code"], set(error["message"]), "data" in error), (5, {"\x01"}, False))

    def test_a_limit_without_room_for_any_reply(self) -> None:
        worker = self.start(SOURCE, greet=False)
        worker.request("hello", {"frame_limit": 10})
        self.check_exit(worker, 1, "no room for a reply")

    def test_payloads(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.call("size", {"times": 2}, b"12345").result, 10)
        self.assertEqual(worker.call("size", None, b"").result, 0)
        self.assertIsNone(worker.call("size").result)
        large = bytes(range(256)) * 4096
        self.assertEqual(worker.call("size", None, large).result, len(large))
        reply = worker.call("both", [3])
        self.assertEqual((reply.result, reply.payload), ({"n": 3}, b"\0\0\0"))
        self.assertEqual(worker.call("blob", [1 << 20]).payload, b"b" * (1 << 20))
        self.assertEqual(worker.call("blob", [0]).payload, b"")
        self.assertEqual(worker.call("scattered").payload, b"ace")
        self.assertEqual(worker.call("words").payload, b"abcdefgh")
        for method, params, payload in (
            ("add", [1], b"x"), ("ping", None, b"x"), ("size", {"payload": "not bytes"}, None), ("keep", None, None),
        ):
            self.assertEqual(worker.call(method, params, payload).error["code"], -32602)

    def test_a_payload_ends_with_its_call(self) -> None:
        worker = self.start(SOURCE)
        self.assertIs(worker.call("keep", None, b"mine").result, True)
        self.assertIn("released memoryview", worker.call("read_kept").error["message"])

    def test_sessions(self) -> None:
        worker = self.start(SOURCE)
        worker.call("put", ["a", 1])
        worker.call("put", ["bad", 2])
        self.assertEqual(worker.call("get", ["a"]).result, 1)
        self.assertIs(worker.call("session_ended", {"session": "a"}).result, True)
        self.assertIsNone(worker.call("get", ["a"]).result)
        self.assertIn("bad session", worker.call("session_ended", {"session": "bad"}).error["message"])
        self.assertIsNone(worker.call("get", ["bad"]).result)
        self.assertIs(worker.call("session_ended", {"session": "never"}).result, False)
        self.assertEqual(worker.call("forgotten").result, [["a", 1], ["bad", 2], ["never", None]])

    def test_hooks_and_exit(self) -> None:
        worker = self.start(SOURCE)
        worker.close()
        self.check_exit(worker, 0, "started\nstopped first\nstopped last\n")
        worker = self.start(SOURCE)
        worker.request("leave", [3])
        self.check_exit(worker, 3, "stopped last")

    def test_hello_comes_first_and_once(self) -> None:
        worker = self.start(SOURCE, greet=False)
        for method, params, code in (
            ("add", [1], -32002), ("ping", None, -32002), ("absent", None, -32002),
            ("hello", None, -32602), ("hello", {"frame_limit": "1"}, -32602), ("hello", {"frame_limit": 0}, -32602),
        ):
            self.assertEqual(worker.call(method, params).error["code"], code)
        self.assertEqual(worker.greet(protocol=9)["protocol"], 1)
        self.assertEqual(worker.call("hello", {"frame_limit": 5}).error["code"], -32600)
        self.assertEqual(worker.call("add", [1]).result, 2)

    def test_requests_that_are_none(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.call("add", [1], jsonrpc="1.0").error["code"], -32600)
        nameless: Any = 7
        self.assertEqual(worker.call(nameless, [1]).error["code"], -32600)


class Batches(WorkerCase):
    def batch(self, worker: Worker, *requests: tuple[Any, ...]) -> list[Any]:
        """Send requests of a method, params and perhaps other members; return the results, or
        the errors' codes."""
        body: list[dict[str, Any]] = []
        for method, params, *members in requests:
            worker.last += 1
            body.append({"jsonrpc": "2.0", "id": worker.last, "method": method, "params": params})
            body[-1].update(*members)
        worker.write(encode(body))
        replies = worker.receive().body
        self.assertEqual([reply["id"] for reply in replies], [request["id"] for request in body])
        return [reply["result"] if "result" in reply else reply["error"]["code"] for reply in replies]

    def test_replies_in_order(self) -> None:
        worker = self.start(SOURCE)
        got = self.batch(
            worker, ("add", [1]), ("fail", ["x"]), ("absent", []), ("ping", None), ("hello", {"frame_limit": 5}),
            ("add", [1], {"stream": {"window": 1}}), ("blob", [5]), ("size", []), ("keep", []), ("add", [3]),
        )
        instance = {"instance": worker.hello["instance"]}
        self.assertEqual(got, [2, -32000, -32601, instance, -32600, -32600, -32603, None, -32602, 4])
        self.assertEqual(self.batch(worker, *[("add", [i]) for i in range(1000)]), list(range(1, 1001)))

    def test_what_does_not_fit_is_refused_alone(self) -> None:
        worker = self.start(SOURCE, limit=1000)
        got = self.batch(worker, ("text", [300]), ("text", [300]), ("text", [300]), ("add", [1]), ("text", [2000]))
        self.assertEqual(got, ["x" * 300, "x" * 300, -32001, 2, -32001])

    def test_no_room_for_refusals(self) -> None:
        worker = self.start(SOURCE, limit=1000)
        with self.assertRaises(EOFError):
            self.batch(worker, *[("", None) for _ in range(15)])
        self.check_exit(worker, 1, "no room for 15 replies")

    def test_batches_that_are_none(self) -> None:
        for body in (b"[]", b"[7]", b"[" + b",".join([b"{}"] * 1001) + b"]",
                     b'[{"jsonrpc":"2.0","id":3,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]'):
            worker = self.start(SOURCE)
            worker.write(len(body).to_bytes(4, "big") + body)
            self.check_exit(worker, 1)
