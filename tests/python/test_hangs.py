"""Requests that are broken off, and the heartbeat."""

import os
import socket
import struct
import tempfile
import unittest

from support import DEADLINE, Cut, Worker, eventually, request


class InterruptTest(unittest.TestCase):
    def stuck(self, worker, how, **parameters):
        """A request that does not end."""
        before = worker.errors().count("stuck in")
        connection = worker.connect()
        self.addCleanup(connection.socket.close)
        connection.send(request("/stuck", QUERY_STRING=how, **parameters))
        eventually(lambda: worker.errors().count("stuck in") > before)
        return connection

    def broken_off(self, worker, connection):
        with self.assertRaises(Cut) as cut:
            connection.response()
        self.assertEqual(cut.exception.args, (b"",))

    def test_the_main_thread_even_while_it_waits(self):
        with Worker("apps", interrupts=True).ready() as worker:
            for how in ("sleep", "loop"):
                with self.subTest(how=how):
                    connection = self.stuck(worker, how, REQUEST_ID="r-" + how)
                    connection.abandon()
                    worker.interrupt()
                    self.broken_off(worker, connection)
                    self.assertEqual(worker.request().body, b"hello\n")
                    said = "request r-%s of pool test: broken off, for its time is over: GET /stuck" % how
                    self.assertIn(said, worker.errors())
            self.assertIn("time.sleep(600)", worker.errors())
            self.assertIn("stockade.RequestTimeout", worker.errors())

    def test_that_thread_alone(self):
        with Worker("apps", threads=3, interrupts=True).ready() as worker:
            meant = self.stuck(worker, "loop", REQUEST_ID="r-meant")
            other = self.stuck(worker, "loop", REQUEST_ID="r-other")
            meant.abandon()
            worker.interrupt()
            self.broken_off(worker, meant)
            self.assertEqual(worker.request().body, b"hello\n")
            other.abandon()
            worker.interrupt()
            self.broken_off(worker, other)
            said = worker.errors()
            self.assertLess(said.index("r-meant of pool test: broken off"), said.index("r-other of pool test: broken off"))
            self.assertEqual(said.count("broken off"), 2)
            # every thread serves again
            connections = [worker.connect() for _ in range(3)]
            for connection in connections:
                connection.send(request("/busy", QUERY_STRING=os.devnull))
            for connection in connections:
                self.assertEqual(connection.response().body, b"finished")
                connection.socket.close()

    def test_one_that_is_not_meant_goes_on(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), tempfile.TemporaryDirectory() as folder:
                go = os.path.join(folder, "go")
                with Worker("apps", threads, interrupts=True).ready() as worker, worker.connect() as connection:
                    connection.send(request("/busy", QUERY_STRING=go))
                    eventually(lambda: "busy" in worker.errors())
                    for _ in range(3):
                        worker.interrupt()
                    open(go, "w").close()
                    self.assertEqual(connection.response().body, b"finished")
                    self.assertNotIn("broken off", worker.errors())

    def test_an_application_may_answer_for_itself(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads, interrupts=True).ready() as worker:
                connection = self.stuck(worker, "caught")
                connection.abandon()
                worker.interrupt()
                self.assertEqual(connection.response().body, b"caught")
                self.assertEqual(worker.request().body, b"hello\n")

    def test_one_that_swallows_it_is_told_once(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), tempfile.TemporaryDirectory() as folder:
                go = os.path.join(folder, "go")
                with Worker("apps", threads, interrupts=True).ready() as worker:
                    connection = self.stuck(worker, "deaf", REQUEST_ID=go)
                    connection.abandon()
                    worker.interrupt()
                    eventually(lambda: "swallowed" in worker.errors())
                    for _ in range(3):
                        worker.interrupt()
                    open(go, "w").close()
                    self.assertEqual(connection.response().body, b"caught")

    def test_no_other_request_is_ever_hit(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads, interrupts=True).ready() as worker:
                hit = 0
                for number in range(300):
                    with worker.connect() as short, worker.connect() as kept:
                        short.send(request("/short", QUERY_STRING=str(number * 200)))
                        short.abandon()
                        worker.interrupt()
                        for _ in range(3):
                            self.assertEqual(kept.request("/hello").body, b"hello\n", worker.errors())
                        try:
                            short.response()
                        except Cut:
                            hit += 1
                said = worker.errors()
                self.assertNotIn("GET /hello", said)
                self.assertEqual(said.count("broken off, for its time is over: GET /short"), hit)
                self.assertEqual(said.count("exception"), 0, said)

    def test_the_supervisor_is_gone(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads, interrupts=True).ready() as worker:
                worker.control.shutdown(socket.SHUT_RDWR)
                self.assertEqual(worker.wait(), 0)
                self.assertEqual(worker.errors(), "")

    def test_messages_that_ask_for_nothing(self):
        with Worker("apps", interrupts=True).ready() as worker:
            for message in (struct.pack("=HHIQ", 1, 1, 0, 0), struct.pack("=HHIQ", 7, 2, 0, 0), b"x"):
                worker.control.send(message)
            self.assertEqual(worker.request().body, b"hello\n")


class HeartbeatTest(unittest.TestCase):
    def changes(self, worker):
        before = worker.beat()
        eventually(lambda: worker.beat() != before, "a beat")

    def test_it_goes_on_while_idle_and_while_busy(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads, deadlock=400).ready() as worker:
                self.changes(worker)
                with worker.connect() as connection:
                    connection.send(request("/stuck", QUERY_STRING="loop"))
                    eventually(lambda: "stuck in" in worker.errors())
                    for _ in range(3):
                        self.changes(worker)

    def test_it_stops_with_the_lock(self):
        with Worker("apps", deadlock=200).ready() as worker, worker.connect() as connection:
            connection.send(request("/stuck", QUERY_STRING="lock"))
            eventually(lambda: "stuck in" in worker.errors())
            seen = {worker.beat()}

            def back():
                # in this order: what it beats behind the end of the call is no matter
                is_back = "got it back" in worker.errors()
                if not is_back:
                    seen.add(worker.beat())
                return is_back

            eventually(back, "the end of the call")
            # one that was under way when the lock was taken, and one at its end
            self.assertLessEqual(len(seen), 3)
            self.changes(worker)

    def test_it_ends_with_the_worker(self):
        for threads in (1, 3):
            for more in ({}, {"interrupts": True}):
                with self.subTest(threads=threads, more=more):
                    with Worker("apps", threads, deadlock=200, **more).ready() as worker:
                        self.assertEqual(worker.request().body, b"hello\n")
                        worker.terminate()
                        self.assertEqual(worker.wait(), 0)
                        self.assertEqual(worker.errors(), "")

    def test_the_descriptor_is_the_adapters_alone(self):
        with Worker("apps", deadlock=60000).ready() as worker:
            self.assertNotIn(b"heartbeat", worker.request("/child").body)
            self.assertNotIn(b"HEARTBEAT", worker.request("/process").body)


if __name__ == "__main__":
    unittest.main()
