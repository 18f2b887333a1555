"""A worker's life: loading, readiness, threads, stopping."""

import os
import pwd
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

from support import (
    ABORT, BOOTSTRAP, CANT_MPX, END, GET_VALUES, PYTHON, STDIN, STDOUT, UNKNOWN_ROLE, VALUES,
    Cut, Worker, WorkerTest, begin, eventually, head, pairs, record, request, stream,
)


NOBODY = 65534


class LoadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = os.path.realpath(folder.name)

    def write(self, name, text):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def app(self, name, body, callable_name="application"):
        code = "def %s(environ, start_response):\n    start_response('200 OK', [])\n    return [%s]\n"
        return self.write(name, code % (callable_name, body))

    def served(self, target, **options):
        with Worker(target, home=self.home, **options).ready() as worker:
            return worker.request().body

    def refused(self, target, status, *messages, **options):
        with Worker(target, home=self.home, **options) as worker:
            self.assertEqual(worker.wait(), status, worker.errors())
            for message in messages:
                self.assertIn(message, worker.errors())
            return worker.errors()

    def test_the_ways_to_name_an_application(self):
        self.app("blog/wsgi.py", "b'module'")
        self.app("script.wsgi", "b'script'")
        self.app("other.py", "b'named'", "other")
        self.write("dotted.py", "from blog.wsgi import application\nclass a: b = staticmethod(application)\n")
        for target, expected in [
            ("blog.wsgi:application", b"module"),
            ("blog.wsgi", b"module"),
            ("dotted:a.b", b"module"),
            ("script.wsgi", b"script"),
            (os.path.join(self.home, "script.wsgi"), b"script"),
            (os.path.join(self.home, "other.py") + ":other", b"named"),
            ("./other.py:other", b"named"),
        ]:
            self.assertEqual(self.served(target), expected, target)

    def test_the_path(self):
        self.write("lib/first/helper.py", "name = b'first'\n")
        self.write("lib/second/helper.py", "name = b'second'\n")
        self.write("lib/third/extra.py", "name = b'extra'\n")
        self.write("lib/first/more.pth", os.path.join(self.home, "lib/third") + "\n")
        self.write("site/beside.py", "import helper, extra\nname = helper.name + extra.name\n")
        self.app("site/app.wsgi", "beside.name")
        with open(os.path.join(self.home, "site/app.wsgi"), "a") as script:
            script.write("import beside\n")
        entries = [os.path.join(self.home, "lib/first"), os.path.join(self.home, "lib/second")]
        self.assertEqual(self.served("site/app.wsgi", python_path=entries), b"firstextra")

    def test_what_is_missing(self):
        self.app("wsgi.py", "b''", "aplication")
        self.write("number.py", "application = 5\n")
        errors = self.refused("nowhere.wsgi:application", 3, "could not load nowhere.wsgi:application: there is no module nowhere")
        self.assertIn("interpreter: ", errors)
        self.assertIn("searched: " + self.home, errors)
        self.assertNotIn("Traceback", errors)
        self.refused("/nowhere/app.wsgi", 3, "there is no file /nowhere/app.wsgi")
        self.refused("wsgi", 4, "wsgi has no application; did you mean aplication?")
        self.refused("number", 4, "application is not callable: it is of type int")

    def test_the_callables_that_are_there_are_named(self):
        self.app("flaskish.py", "b''", "app")
        self.app("two.wsgi", "b''", "first")
        two = "import difflib\nfrom flaskish import app\nclass Served:\n    def __call__(self, environ, start_response): pass\n"
        with open(os.path.join(self.home, "two.wsgi"), "a") as script:
            script.write(two + "second = Served()\ndef odd(): pass\n_own = first\n")
        self.app("number.py", "b''", "served")
        with open(os.path.join(self.home, "number.py"), "a") as script:
            script.write("application = 5\n")
        self.write("nothing.py", "import os\n")
        path = os.path.join(self.home, "flaskish.py")
        self.refused(path, 4, "flaskish.py has no application; there is the callable app: write `flaskish.py:app`\n")
        self.refused("flaskish:nope", 4, "flaskish has no nope; there is the callable app: write `flaskish:app`\n")
        self.refused("two.wsgi", 4, "there are the callables first, second: write `./two.wsgi:first` or `./two.wsgi:second`\n")
        self.refused(
            "number:application", 4, "application is not callable: it is of type int; there is the callable served: write `number:served`\n"
        )
        served = "class Served:\n    async def __call__(self, scope, receive, send): pass\napp = Served()\nasync def page(): pass\n"
        self.write("api.py", served)
        write = "there is the ASGI application app: write `api.py:app`, with `asgi` instead of `wsgi` (`stockade run --asgi`)\n"
        self.refused(os.path.join(self.home, "api.py"), 4, "api.py has no application; " + write)
        self.refused("nothing:app", 4, "nothing has no app: define it, or name another callable, after a colon\n")

    def test_what_is_no_wsgi_application(self):
        self.write("later.py", "async def application(scope, receive, send): pass\n")
        self.write("later2.py", "class A:\n    async def __call__(self, scope, receive, send): pass\napplication = A()\n")
        for name in ("later", "later2"):
            self.refused(name, 4, "application is asynchronous, as ASGI applications are: name it with `asgi`")
        for beginning in ("\x7fELF\0\0", "#!/usr/bin/perl\n"):
            path = self.write("program", beginning)
            errors = self.refused(path, 3, "it is a program, not Python source", "stockade run --command -- " + path)
            self.assertNotIn("Traceback", errors)
        self.app("python", "b'served'")
        with open(os.path.join(self.home, "python")) as source:
            self.write("python", "#!/usr/bin/env python3\n" + source.read())
        self.assertEqual(self.served("./python"), b"served")

    def test_files_that_may_not_be_read(self):
        if os.geteuid() == 0:
            os.chmod(self.home, 0o755)
        for name in ("script.wsgi", "module.py"):
            self.app(name, "b''")
            os.chmod(os.path.join(self.home, name), 0)
        account = pwd.getpwuid(NOBODY).pw_name if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        for target, name in (("./script.wsgi", "script.wsgi"), ("module:application", "module.py")):
            path = os.path.join(self.home, name)
            words = "let the account %s reach and read %s (chmod), or run the application as another" % (account, path)
            self.refused(target, 3, "Permission denied", words, user=NOBODY if os.geteuid() == 0 else None)

    def test_imports_that_fail(self):
        self.write("bad.py", "import json\njson.loads('{')\n")
        self.write("needs.py", "import blog_dependency\n")
        self.write("syntax.wsgi", "def application(:\n")
        self.write("quits.py", "raise SystemExit(0)\n")
        errors = self.refused("bad", 3, "could not load bad: its import failed", 'bad.py", line 2, in <module>', "JSONDecodeError")
        self.assertNotIn("importlib", errors)
        self.assertNotIn("loader.py", errors)
        self.refused("needs", 3, "No module named 'blog_dependency'", "searched: ", "interpreter: ")
        self.refused("syntax.wsgi", 3, "SyntaxError")
        self.refused("quits", 3, "SystemExit")

    def test_what_the_application_finds_in_its_process(self):
        with Worker("apps").ready() as worker:
            found = worker.request("/process").body.decode()
        home = os.path.dirname(os.path.abspath(__file__))
        self.assertEqual(found, repr((["STOCKADE_GENERATION", "STOCKADE_POOL", "STOCKADE_WORKER"], ["stockade"], home)))

    def test_without_a_control_socket(self):
        with Worker("apps", control=False) as worker:
            self.assertEqual(worker.request().body, b"hello\n")

    def test_modules_at_home_do_not_disturb_the_start(self):
        self.app("app.py", "b'here'")
        for name in ("os", "importlib", "importlib/machinery", "site", "signal", "traceback"):
            self.write(name + ".py", "raise RuntimeError('imported')\n")
        # a test of the bootstrap alone: later imports find home first, as they do everywhere
        with Worker("nowhere", home=self.home) as worker:
            worker.wait()
            self.assertNotIn("imported", worker.errors())

    def test_interpreters_that_cannot(self):
        environment = dict(os.environ, STOCKADE_ADAPTER_FD="0")
        with open("/etc/passwd") as no_library:
            done = subprocess.run(
                [PYTHON, "-c", BOOTSTRAP], stdin=no_library, env=environment, capture_output=True, text=True
            )
        self.assertEqual(done.returncode, 5)
        self.assertIn("cannot run the adapter", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class ConnectionTest(WorkerTest):
    target = "apps"

    def test_a_kept_connection(self):
        with self.worker.connect() as connection:
            for _ in range(1000):
                self.assertEqual(connection.request("/hello").body, b"hello\n")
                self.assertEqual(connection.end, (0, 0))

    def test_a_connection_that_is_not_kept(self):
        with self.worker.connect() as connection:
            connection.request("/hello", keep=False)
            self.assertTrue(connection.at_end())

    def test_idle_connections_hold_nobody_up(self):
        connections = [self.worker.connect() for _ in range(5)]
        for _ in range(3):
            for connection in connections:
                self.assertEqual(connection.request("/hello").body, b"hello\n")
        for connection in connections:
            connection.socket.close()

    def test_values(self):
        with self.worker.connect() as connection:
            names = {"FCGI_MAX_CONNS": "", "FCGI_MPXS_CONNS": "", "OTHER": ""}
            connection.send(record(GET_VALUES, pairs(names), 0))
            expected = pairs({"FCGI_MAX_CONNS": "1", "FCGI_MPXS_CONNS": "0"})
            self.assertEqual(connection.record(), (VALUES, 0, expected))
            self.assertEqual(connection.request("/hello").body, b"hello\n")

    def test_roles_and_multiplexing(self):
        with self.worker.connect() as connection:
            connection.send(begin(role=2))
            self.assertEqual(connection.record(), (END, 1, struct.pack(">IB3x", 0, UNKNOWN_ROLE)))
            connection.send(head("/echo", 4, QUERY_STRING="all"), request("/hello", request=2))
            connection.send(stream(STDIN, b"1234"))
            self.assertEqual(connection.record(), (END, 2, struct.pack(">IB3x", 0, CANT_MPX)))
            self.assertEqual(connection.response().body, b"1234")
            self.assertEqual(connection.request("/hello").body, b"hello\n")

    def test_abort(self):
        with self.worker.connect() as connection:
            connection.send(begin(), record(ABORT))
            self.assertEqual(connection.record()[0], STDOUT)
            self.assertEqual(connection.record()[0], END)
            connection.send(head("/readfail", 10), record(STDIN, b"12"), record(ABORT))
            self.assertEqual(connection.response().status, "500 Internal Server Error")
            self.assertEqual(connection.request("/hello").body, b"hello\n")

    def test_no_fastcgi(self):
        with self.worker.connect() as connection:
            connection.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with self.assertRaises((Cut, ConnectionResetError)):
                connection.record()
        self.assertEqual(self.ask("/hello").body, b"hello\n")

    def test_a_body_that_nobody_reads(self):
        with self.worker.connect() as connection:
            self.assertEqual(connection.request("/early", body=b"x" * 100000).body, b"unread")
            self.assertEqual(connection.request("/hello").body, b"hello\n")
        with self.worker.connect() as connection:
            connection.send(head("/early", 1 << 20), record(STDIN, b"x" * 1000))
            self.assertEqual(connection.response().body, b"unread")
            connection.send(stream(STDIN, b"x" * 300000))
            self.assertTrue(connection.at_end())
        self.assertEqual(self.ask("/hello").body, b"hello\n")

    def test_64_mib_up_and_down_in_little_memory(self):
        size = 64 << 20
        self.ask("/hello")
        before = self.worker.resident_kib("VmHWM")
        with self.worker.connect() as connection:
            connection.send(head("/count", size))
            piece = record(STDIN, bytes(32768)) * 32
            for _ in range(64):
                connection.send(piece)
            connection.send(record(STDIN))
            self.assertEqual(connection.response().body, str(size).encode())
            connection.send(request("/big", QUERY_STRING=str(size)))
            received = 0
            kind = STDOUT
            while kind != END:
                kind, _, content = connection.record()
                received += len(content)
            self.assertGreater(received, size)
        self.assertLess(self.worker.resident_kib("VmHWM") - before, 16384)

    def test_a_large_block(self):
        size = 5_000_000
        self.assertEqual(self.ask("/single", QUERY_STRING=str(size)).body, b"y" * size)
        body = os.urandom(3_000_000)
        self.assertEqual(self.ask("/echo", body=body, QUERY_STRING="all").body, body)


class ThreadsTest(unittest.TestCase):
    def test_four_at_a_time(self):
        with Worker("apps", threads=4).ready() as worker:
            connections = [worker.connect() for _ in range(6)]
            for connection in connections:
                self.assertEqual(connection.request("/hello").body, b"hello\n")
            for chosen in (connections[:4], connections[2:]):
                for connection in chosen:
                    connection.send(request("/barrier"))
                names = {connection.response().body for connection in chosen}
                self.assertEqual(names, {b"stockade-%d" % number for number in range(1, 5)})
            for connection in connections:
                connection.socket.close()
            worker.terminate()
            self.assertEqual(worker.wait(), 0, worker.errors())

    def test_many_requests_in_threads(self):
        with Worker("apps", threads=4).ready() as worker:
            failures = []

            def client():
                with worker.connect() as connection:
                    for number in range(100):
                        body = b"%d" % number * 10
                        if connection.request("/echo", body=body, QUERY_STRING="all").body != body:
                            failures.append(number)

            clients = [threading.Thread(target=client) for _ in range(6)]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join()
            self.assertEqual(failures, [])


class StopTest(unittest.TestCase):
    def test_idle(self):
        for threads in (1, 3):
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(threads=threads, number=number), Worker("apps", threads).ready() as worker:
                    with worker.connect() as connection:
                        connection.request("/hello")
                        worker.terminate(number)
                        self.assertTrue(connection.at_end())
                    self.assertEqual(worker.wait(), 0)
                    self.assertEqual(worker.errors(), "")

    def test_busy(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), tempfile.TemporaryDirectory() as folder:
                go = os.path.join(folder, "go")
                with Worker("apps", threads).ready() as worker, worker.connect() as connection:
                    connection.send(request("/busy", QUERY_STRING=go))
                    eventually(lambda: "busy" in worker.errors())
                    worker.terminate()
                    self.assertIsNone(worker.process.poll())
                    open(go, "w").close()
                    self.assertEqual(connection.response().body, b"finished")
                    self.assertEqual(worker.wait(), 0)

    def test_while_a_body_is_read(self):
        with Worker("apps").ready() as worker, worker.connect() as connection:
            connection.send(head("/reading", 6), record(STDIN, b"123"))
            eventually(lambda: "reading" in worker.errors())
            worker.terminate()
            connection.send(record(STDIN, b"456"), record(STDIN))
            self.assertEqual(connection.response().body, b"123456")
            self.assertEqual(worker.wait(), 0)

    def test_the_supervisor_is_gone(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads).ready() as worker:
                worker.control.shutdown(socket.SHUT_RDWR)
                self.assertEqual(worker.wait(), 0)

    def test_a_message_of_the_supervisor_changes_nothing(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads).ready() as worker:
                worker.control.send(struct.pack("=HHIQ", 1, 1, 0, 0))
                self.assertEqual(worker.request().body, b"hello\n")
                self.assertIsNone(worker.process.poll())

    def test_sys_exit_in_the_application(self):
        for threads in (1, 3):
            with self.subTest(threads=threads), Worker("apps", threads).ready() as worker:
                response = worker.request("/raise", QUERY_STRING="exit")
                self.assertEqual(response.status, "500 Internal Server Error")
                self.assertEqual(worker.wait(), 7)

    def test_atexit(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "app.py"), "w") as file:
                file.write("import atexit\natexit.register(print, 'goodbye')\napplication = print\n")
            with Worker("app", home=folder).ready() as worker:
                worker.terminate()
                self.assertEqual(worker.wait(), 0)
                self.assertEqual(worker.errors(), "goodbye\n")


if __name__ == "__main__":
    unittest.main()
