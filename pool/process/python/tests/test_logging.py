"""The bridge from the logging module to the host."""

from __future__ import annotations

from typing import Any

from support import WorkerCase

SOURCE = r"""
import logging, os, signal, threading
from poolproof_worker import bridge_logging, logging_handler, method, on_start, on_stop, run

bridge_logging("DEBUG")
logger = logging.getLogger("app.part")
logger.warning("before hello")

@on_start
def started(): logger.warning("still before hello")

@method
def log(level, *args, **extra): logger.log(level, *args, extra=extra)

@method
def log_extra(extra): logger.info("extra", extra=extra)

@method
def odd(): logger.info("odd %s", "\udc80", extra={"a": {1}, "b": object, "c": [1], "d": "\udc81", "e": "y" * 100_000})

@method
def wrong(): logger.info("%d", "no number")

@method
def large(): logger.info("x" * 100_000)

@method
def trace():
    try:
        int("x")
    except ValueError:
        logger.exception("failed")
    logger.info("where", stack_info=True)

@method
def threads(n, lines):
    def talk(i):
        for j in range(lines):
            logger.info("%d %d %s", i, j, "z" * 3000)
    running = [threading.Thread(target=talk, args=(i,)) for i in range(n)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return b"p" * 300_000

@method
def reentrant(lines):
    # Signal handlers that log interrupt this thread wherever it is, also as it sends.
    signal.signal(signal.SIGALRM, lambda *_: logger.warning("from a handler"))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for i in range(lines):
        logger.info("line %d %s", i, "z" * 20_000)
    signal.setitimer(signal.ITIMER_REAL, 0)

@method
def fork():
    child = os.fork()
    if child == 0:
        logger.warning("from the child")
        os._exit(0)
    return os.waitpid(child, 0)[1]

@on_stop
def stopping(): logger.warning("stopping")

run()
"""


class Logging(WorkerCase):
    def logged(self, method: str, params: Any = None, **start: Any) -> tuple[list[Any], Any]:
        """Call a method; return the params of the log notifications, and the reply."""
        worker = self.worker = self.start(SOURCE, **start)
        number = worker.request(method, params)
        lines = []
        while "id" not in (message := worker.receive()).body:
            self.assertEqual(message.body["method"], "log")
            lines.append(message.body["params"])
        self.assertEqual(message.body["id"], number)
        return lines, message

    def test_levels(self) -> None:
        for level, name in ((5, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warning"), (40, "error"), (50, "error")):
            lines, _ = self.logged("log", [level, "a %s", "message"])
            want = [{"level": name, "message": "a message", "logger": "app.part"}]
            self.assertEqual(lines, want if level >= 10 else [])

    def test_attributes(self) -> None:
        lines, _ = self.logged("log_extra", [{"seconds": 1.5, "tags": ["a"]}])
        self.assertEqual(lines[0]["attributes"], {"seconds": 1.5, "tags": ["a"]})

    def test_what_is_not_json_is_sent_as_text(self) -> None:
        (line,), _ = self.logged("odd")
        self.assertEqual(line["message"], "odd \\udc80")
        attributes = line["attributes"]
        self.assertEqual((attributes["a"], attributes["b"], attributes["c"], attributes["d"]), ("{1}", "<class 'object'>", [1], "\\udc81"))
        self.assertIn("67232 characters more", attributes["e"])

    def test_it_never_raises(self) -> None:
        lines, reply = self.logged("wrong")
        self.assertEqual((lines, reply.result), ([], None))
        self.assertIn("Logging error", self.worker.process.said())
        (line,), _ = self.logged("large")
        self.assertIn("67232 characters more", line["message"])
        lines, reply = self.logged("large", limit=5000)
        self.assertEqual((lines, reply.result), ([], None))

    def test_tracebacks(self) -> None:
        (failed, where), _ = self.logged("trace")
        self.assertEqual((failed["level"], failed["message"]), ("error", "failed"))
        self.assertIn("ValueError: invalid literal", failed["attributes"]["traceback"])
        self.assertIn("Stack (most recent call last)", where["attributes"]["traceback"])

    def test_threads_do_not_mix_frames(self) -> None:
        lines, reply = self.logged("threads", [8, 100])
        self.assertEqual(len(lines), 800)
        for i in range(8):
            own = [line["message"].split()[1] for line in lines if line["message"].startswith(f"{i} ")]
            self.assertEqual(own, [str(j) for j in range(100)])
        self.assertEqual(len(reply.payload), 300_000)

    def test_signal_handlers_do_not_mix_frames(self) -> None:
        lines, _ = self.logged("reentrant", [300])
        own = [line["message"].split()[1] for line in lines if line["level"] == "info"]
        self.assertEqual(own, [str(i) for i in range(300)])
        self.assertGreater(len(lines), 300, "no handler ran")

    def test_without_a_host_to_tell_it_goes_to_standard_error(self) -> None:
        _, reply = self.logged("fork")
        self.assertEqual(reply.result, 0)
        self.worker.close()
        self.check_exit(self.worker, 0)
        said = self.worker.process.said()
        for text in ("before hello", "still before hello", "from the child"):
            self.assertEqual(said.count(text + "\n"), 2 if text == "before hello" else 1, said)
        self.assertNotIn("Traceback", said)
