"""The module `stockade`: inside a worker, and imported elsewhere."""

import os
import struct
import subprocess
import tempfile
import threading
import unittest

from support import PYTHON, ROOT, Cut, Worker, WorkerTest, eventually, head, request

SOURCE = os.path.join(ROOT, "daemon/python/python/stockade.py")
# the numbers in `retire`, as the manual has them
CAUSES = [
    "requested", "scaled-down", "maximum-requests", "restart-interval", "maximum-memory", "cpu-time-limit", "inactivity", "request-timeout",
    "deadlock", "startup-timeout", "protocol-error",
    "refork",
]


def told(worker):
    return [line[6:] for line in worker.errors().splitlines() if line.startswith("told: ")]


class RequestTest(WorkerTest):
    target = "told"

    def test_the_worker(self):
        with open(os.path.join(ROOT, "Cargo.toml")) as manifest:
            version = next(line.split('"')[1] for line in manifest if line.startswith("version = "))
        self.assertEqual(self.ask("/worker").body.decode(), repr((True, "test", 1, 1, version, True)))

    def test_the_current_request(self):
        found = self.ask("/caf\xc3\xa9", REQUEST_ID="r-1", SCRIPT_NAME="").body.decode()
        self.assertEqual(found, repr(("r-1", "GET", "/caf\xe9", True, {"seen": "started"})))

    def test_the_time_in_the_queue(self):
        for value, seconds in [("0.250000", b"0.250000"), (None, b"0.000000"), ("", b"0.000000"), ("x", b"0.000000")]:
            self.assertEqual(self.ask("/queue", STOCKADE_QUEUE=value).body, seconds)

    def test_what_is_kept_of_a_request_stays_its_own(self):
        self.ask("/keep", REQUEST_ID="r-before")
        found = self.ask("/kept", REQUEST_ID="r-now").body.decode()
        self.assertEqual(found, repr(("r-before", {"seen": "started", "kept": True}, False, {"seen": "started"})))

    def test_events(self):
        self.ask("/hello", REQUEST_ID="r-event")
        self.ask("/raise", REQUEST_ID="r-raise")
        lines = told(self.worker)
        self.assertIn("request_started r-event None True", lines)
        self.assertIn("request_finished r-event 201 started", lines)
        order = [line for line in lines if "r-raise" in line]
        self.assertEqual(
            order, ["request_started r-raise None True", "request_exception r-raise ValueError", "request_finished r-raise 500 started"]
        )

    def test_a_callback_that_raises_does_not_reach_the_request(self):
        self.assertEqual(self.ask("/startfails", REQUEST_ID="r-fails").body, b"served")
        self.assertLogged("exception in the callback told.started for request_started of pool test\n")
        self.assertLogged("KeyError: \"the callback's own words\"")
        self.assertNotIn("request_exception r-fails", self.worker.errors())

    def test_log_lines_are_tagged(self):
        self.ask("/log", REQUEST_ID="r-log")
        tag = "pool=test worker=1 request=r-log shop"
        self.assertLogged("WARNING %s: one\nWARNING %s| two\n" % (tag, tag))
        self.assertLogged("ERROR %s: failed\nERROR %s| Traceback (most recent call last):\n" % (tag, tag))
        self.assertLogged("ERROR %s| ValueError: inner\n" % tag)

    def test_a_client_that_leaves_is_no_exception(self):
        with self.worker.connect() as connection:
            connection.send(head("/read", 10, REQUEST_ID="r-left"))
        eventually(lambda: "request_finished r-left" in self.worker.errors())
        self.assertNotIn("request_exception r-left", self.worker.errors())


class ThreadsTest(unittest.TestCase):
    def test_each_thread_has_its_own(self):
        with Worker("told", threads=3).ready() as worker:
            connections = [worker.connect() for _ in range(2)]
            for _ in range(20):
                for number, connection in enumerate(connections):
                    connection.send(request("/pair", REQUEST_ID="r-%d" % number))
                for number, connection in enumerate(connections):
                    self.assertEqual(connection.response().body.decode(), "r-%d [None] ['r-0', 'r-1']" % number)
            for connection in connections:
                connection.socket.close()

    def test_nobody_asks_and_nobody_is_told(self):
        with Worker("told", more={"UNWATCHED": "1"}).ready() as worker:
            self.assertEqual(worker.request("/raise").status, "500 Internal Server Error")
            self.assertIn("'r-17', 'GET', '/hello', True, {}", worker.request("/hello").body.decode())
            self.assertEqual(told(worker), [])

    def test_a_request_that_is_broken_off(self):
        with Worker("told", interrupts=True).ready() as worker, worker.connect() as connection:
            connection.send(request("/stuck", REQUEST_ID="r-stuck"))
            eventually(lambda: "stuck" in told(worker))
            connection.abandon()
            worker.interrupt()
            with self.assertRaises(Cut):
                connection.response()
            eventually(lambda: "request_finished r-stuck None started" in told(worker))
            self.assertIn("request_exception r-stuck RequestTimeout", told(worker))


class EndTest(unittest.TestCase):
    def ended(self, worker):
        status = worker.wait()
        return status, [line for line in told(worker) if not line.startswith("request_")]

    def test_the_reasons(self):
        last = ["before_retire None", "before_retire again"]
        for threads in (1, 3):
            for number, cause in enumerate(["requested"] + CAUSES + ["requested"]):
                # what is first read when the signal is there already counts too
                with self.subTest(threads=threads, number=number), Worker("told", threads).ready() as worker:
                    worker.retire(number)
                    worker.terminate()
                    self.assertEqual(self.ended(worker), (0, ["process_stopping %s True" % cause] + last))
                    self.assertIn("exception in the hook told.goodbye of before_retire of pool test\n", worker.errors())

    def test_the_reasons_without_a_word_of_the_supervisor(self):
        for threads in (1, 3):
            for end, status, reason in [
                (lambda worker: worker.terminate(), 0, "requested"),
                (lambda worker: worker.control.close(), 0, "supervisor-gone"),
                (lambda worker: worker.request("/exit"), 7, "exit-code"),
            ]:
                with self.subTest(threads=threads, reason=reason), Worker("told", threads).ready() as worker:
                    end(worker)
                    expected = ["process_stopping %s True" % reason, "before_retire None", "before_retire again"]
                    self.assertEqual(self.ended(worker), (status, expected))

    def test_threads_are_told_while_requests_run(self):
        for deadlock in (None, 60000):
            with self.subTest(deadlock=deadlock), tempfile.TemporaryDirectory() as folder:
                with Worker("told", 2, deadlock=deadlock).ready() as worker, worker.connect() as connection:
                    go = os.path.join(folder, "go")
                    connection.send(request("/held", QUERY_STRING=go))
                    eventually(lambda: "held" in told(worker))
                    worker.retire(3)
                    eventually(lambda: "process_stopping maximum-requests True" in told(worker))
                    # it serves on until the signal comes, and its hooks wait for its last request
                    self.assertEqual(worker.request("/startfails").body, b"served")
                    worker.terminate()
                    self.assertNotIn("before_retire None", told(worker))
                    open(go, "w").close()
                    self.assertEqual(connection.response().body, b"held")
                    self.assertEqual(worker.wait(), 0)
                    self.assertEqual(told(worker)[-3:-1], ["request_finished r-17 201 started", "before_retire None"])
                    self.assertEqual(worker.errors().count("process_stopping"), 1)


class OutsideTest(unittest.TestCase):
    """The file as a package of its own."""

    def run_python(self, text, **environment):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "stockade"))
            with open(SOURCE) as source, open(os.path.join(folder, "stockade/__init__.py"), "w") as copy:
                copy.write(source.read())
            everything = {"PATH": os.environ["PATH"], "PYTHONPATH": folder, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
            everything.update(environment)
            done = subprocess.run([PYTHON, "-W", "error", "-c", text], env=everything, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_nothing_happens(self):
        said, _ = self.run_python(
            # an environment's own .pth files import what they like
            "import sys\n"
            "there = set(sys.modules)\n"
            "import stockade\n"
            "print(sorted({'logging', 'traceback', 'contextvars', 'inspect', 'asyncio', 'typing'} & (set(sys.modules) - there)))\n"
            "print(stockade.active, stockade.pool, stockade.worker, stockade.generation, stockade.version, stockade.current_request())\n"
            "for event in ('request_started', 'request_finished', 'request_exception', 'process_stopping'):\n"
            "    assert stockade.subscribe(event, print) is print and stockade.on(event)(print) is print\n"
            "for hook in (stockade.before_retire, stockade.before_fork, stockade.after_fork):\n"
            "    assert hook(print) is print\n"
            "from stockade import *\n"
            "print(issubclass(RequestTimeout, BaseException), issubclass(RequestTimeout, Exception))\n"
        )
        self.assertEqual(said, "[]\nFalse None None None None None\nTrue False\n")

    def test_what_cannot_be_subscribed(self):
        said, _ = self.run_python(
            "import stockade\n"
            "async def later(event): pass\n"
            "for wrong in (lambda: stockade.on('request_start'), lambda: stockade.subscribe('request_started', later),\n"
            "              lambda: stockade.before_fork(5), lambda: stockade.nothing):\n"
            "    try: wrong()\n"
            "    except (ValueError, TypeError, AttributeError) as error: print(type(error).__name__, error)\n"
        )
        lines = said.splitlines()
        self.assertEqual(len(lines), 4, said)
        self.assertEqual(
            lines[0],
            "ValueError stockade has no event 'request_start': subscribe to one of request_started, request_finished, request_exception,"
            " process_stopping",
        )
        for line, beginning in zip(lines[1:], ["TypeError stockade cannot call <function later", "TypeError stockade cannot call 5", "Attr"]):
            self.assertTrue(line.startswith(beginning), line)

    def test_the_handler_tags_what_is_known(self):
        code = (
            "import logging.config, stockade\n"
            "logging.config.dictConfig({'version': 1, 'handlers': {'s': {'class': 'stockade.LogHandler'}}, 'root': {'handlers': ['s']}})\n"
            "logging.warning('a %s', 'b')\n"
            "logging.basicConfig(handlers=[stockade.LogHandler()], force=True)\n"
            "logging.warning('a %s', 'b')\n"
            "logging.getLogger().handlers[0].setFormatter(logging.Formatter('%(pool)s %(worker)s %(request_id)s %(message)s'))\n"
            "logging.warning('own\\nform')\n"
        )
        tagged = "WARNING pool=%s worker=%s request=- root: a b\n" * 2 + "%s %s None own\nform\n"
        self.assertEqual(self.run_python(code)[1], tagged % ("-", "-", "-", "-", None, None))
        # a program that a worker has started
        self.assertEqual(self.run_python(code, STOCKADE_POOL="blog", STOCKADE_WORKER="3")[1], tagged % (("blog", 3) * 3))

    def test_hooks_around_a_fork(self):
        said, errors = self.run_python(
            "import os, stockade\n"
            "stockade.before_fork(lambda: print('closing'))\n"
            "@stockade.after_fork\n"
            "def broken(): raise OSError('no database')\n"
            "stockade.after_fork(lambda: print('opening in', stockade.worker))\n"
            "mine, _ = stockade._take_seat(), stockade._seats.update({1: [{}, 0, None, 0]})\n"
            "stockade._run_before_fork()\n"
            "os.environ['STOCKADE_WORKER'] = '8'\n"
            "stockade._run_after_fork()\n"
            "assert list(stockade._seats.values()) == [mine]\n",
            STOCKADE_POOL="blog",
            STOCKADE_WORKER="7",
        )
        self.assertEqual(said, "closing\nopening in 8\n")
        self.assertTrue(errors.startswith("exception in the hook __main__.broken of after_fork of pool blog\nTraceback"), errors)
        self.assertIn("OSError: no database", errors)


if __name__ == "__main__":
    unittest.main()
