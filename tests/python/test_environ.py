"""What the application finds in environ, and reads from wsgi.input."""

import random
import unittest

from support import PARAMS, STDIN, Worker, WorkerTest, begin, eventually, head, record, stream
from support import pairs as encoded


NAMES = [
    "REQUEST_METHOD", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "SCRIPT_NAME", "PATH_INFO", "HTTPS", "REQUEST_SCHEME", "HTTP_PROXY",
    "HTTP_HOST", "HOST", "HTTP_X_HOST", "HTTP_COOKIE", "HTTP_A", "HTTP_B", "HTTP_C", "A",
]  # fmt: skip
VALUES = ["", "0", "/", "/b", "on", "https", "GET", "HEAD", "é", "v" * 127, "v" * 128, "l" * 1025, "m" * 17000]


def other_pairs(chance, pairs):
    """A request's parameters after another's: the same, or with some of them changed, put elsewhere, left out, or sent twice."""
    pairs = list(pairs)
    for _ in range(chance.choice([0, 1, 1, 2, 9])):
        at = chance.randrange(len(pairs) + 1)
        what = chance.randrange(4)
        if what == 0 or not pairs:
            pairs.insert(at, (chance.choice(NAMES), chance.choice(VALUES)))
        elif what == 1:
            del pairs[at - 1]
        else:
            pairs[at - 1] = (pairs[at - 1][0], chance.choice(VALUES))
    return pairs[:40]


def expected_environ(pairs):
    sent = {name: value.encode().decode("latin-1") for name, value in pairs}
    environ = {
        "REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.0",
        "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    environ.update(sent)
    environ.pop("HTTP_PROXY", None)
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        # an empty one is as if it had not been sent, and another before it stands
        values = [value for known, value in pairs if known == name and value]
        environ.pop(name, None)
        if values:
            environ[name] = values[-1].encode().decode("latin-1")
    script_name, path_info = sent.get("SCRIPT_NAME", ""), sent.get("PATH_INFO", "")
    if script_name.endswith("/") and path_info.startswith("/"):
        script_name = script_name[:-1]
    environ["SCRIPT_NAME"] = ""
    environ["PATH_INFO"] = script_name + path_info or sent.get("REQUEST_URI") or "/"
    https = any(name == "HTTPS" and value in ("on", "1") or (name, value) == ("REQUEST_SCHEME", "https") for name, value in pairs)
    environ["wsgi.url_scheme"] = "https" if https else "http"
    return {name: repr(value) for name, value in environ.items()}


class EnvironTest(WorkerTest):
    target = "apps:app_environ"

    def environ(self, **parameters):
        lines = self.ask("/x", **parameters).body.decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def test_the_wsgi_entries(self):
        environ = self.environ()
        for name, value in {
            "wsgi.version": "(1, 0)",
            "wsgi.url_scheme": "'http'",
            "wsgi.multithread": "False",
            "wsgi.multiprocess": "True",
            "wsgi.run_once": "False",
            "wsgi.input_terminated": "True",
        }.items():
            self.assertEqual(environ[name], value, name)

    def test_https(self):
        self.assertEqual(self.environ(HTTPS="on")["wsgi.url_scheme"], "'https'")
        self.assertEqual(self.environ(HTTPS="1")["wsgi.url_scheme"], "'https'")
        self.assertEqual(self.environ(HTTPS="off")["wsgi.url_scheme"], "'http'")
        self.assertEqual(self.environ(REQUEST_SCHEME="https")["wsgi.url_scheme"], "'https'")

    def test_values_are_latin_1(self):
        environ = self.environ(HTTP_X_NAME="café".encode(), HTTP_X_LONG="l" * 70000)
        self.assertEqual(environ["HTTP_X_NAME"], repr("cafÃ©"))
        self.assertEqual(environ["HTTP_X_LONG"], repr("l" * 70000))

    def test_what_is_not_passed_on(self):
        environ = self.environ(HTTP_PROXY="evil", HTTP_CONTENT_LENGTH="5", HTTP_CONTENT_TYPE="a/b")
        for name in ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE"):
            self.assertNotIn(name, environ)

    def test_the_path(self):
        for sent, expected in [
            ({"SCRIPT_NAME": "", "PATH_INFO": "/x"}, ("", "/x")),
            ({"SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, ("", "/app/x")),
            ({"SCRIPT_NAME": "/a b/c", "PATH_INFO": None}, ("", "/a b/c")),
            ({"SCRIPT_NAME": None, "PATH_INFO": None, "REQUEST_URI": "/a%20b?c=%20"}, ("", "/a b")),
            ({"SCRIPT_NAME": None, "PATH_INFO": None, "DOCUMENT_URI": "/a b", "REQUEST_URI": "/"}, ("", "/a b")),
            ({"SCRIPT_NAME": None, "PATH_INFO": None, "REQUEST_URI": "http://h/a?http://"}, ("", "/a")),
            ({"SCRIPT_NAME": None, "PATH_INFO": None, "REQUEST_URI": None}, ("", "/")),
            ({"SCRIPT_NAME": "/", "PATH_INFO": "/x"}, ("", "/x")),
            ({"SCRIPT_NAME": "/app", "PATH_INFO": ""}, ("", "/app")),
        ]:
            environ = self.environ(**sent)
            self.assertEqual((environ["SCRIPT_NAME"], environ["PATH_INFO"]), tuple(map(repr, expected)), sent)

    def test_what_a_host_left_out(self):
        environ = self.environ(REQUEST_METHOD=None, SERVER_NAME=None, SERVER_PORT=None, QUERY_STRING=None)
        self.assertEqual(environ["SERVER_PORT"], "'80'")
        self.assertEqual(environ["QUERY_STRING"], "''")

    def test_one_request_does_not_see_another(self):
        with self.worker.connect() as connection:
            first = connection.request("/a", HTTP_X_ONE="1", HTTP_X_BOTH="1").body
            second = connection.request("/b", HTTP_X_BOTH="2").body
        self.assertIn(b"HTTP_X_ONE='1'", first)
        self.assertNotIn(b"HTTP_X_ONE", second)
        self.assertIn(b"HTTP_X_BOTH='2'", second)

    def test_more_names_than_are_remembered(self):
        with self.worker.connect() as connection:
            for number in range(40):
                extra = {"HTTP_N%d_%d" % (number, at): str(at) for at in range(20)}
                body = connection.request("/", **extra).body
                self.assertIn(b"HTTP_N%d_19='19'" % number, body)
                self.assertIn(b"REQUEST_URI='/'", body)

    def test_malformed_parameters(self):
        with self.worker.connect() as connection:
            connection.send(begin(), stream(PARAMS, b"\x05\x05abc"), stream(STDIN, b""))
            self.assertEqual(connection.response().status, "400 Bad Request")

    def test_requests_of_any_shape_one_after_another(self):
        chance = random.Random(3)
        pairs = [("REQUEST_URI", "/"), ("SCRIPT_NAME", "/a")]
        with self.worker.connect() as connection:
            for step in range(3000):
                pairs = other_pairs(chance, pairs)
                content = b"".join(encoded({name: value.encode()}) for name, value in pairs)
                connection.send(begin(), stream(PARAMS, content), stream(STDIN, b""))
                body = connection.response().body
                if dict(pairs).get("REQUEST_METHOD") == "HEAD":
                    self.assertEqual(body, b"")
                    continue
                found = dict(line.split("=", 1) for line in body.decode().split("\n"))
                self.assertEqual(found, expected_environ(pairs), "step %d: %r" % (step, pairs))


class InputTest(WorkerTest):
    target = "apps"

    def test_the_ways_to_read(self):
        body = b"one\ntwo\nthree"
        for how, expected in {
            "": b"one\n|two\n|thre|e|",
            "all": body,
            "lines": b"one\n|two\n|three",
            "readlines": b"one\n|two\n|three",
            "hint": b"one\n",
            "bounded": b"on|e\n|two\nthree",
        }.items():
            self.assertEqual(self.ask("/echo", body=body, QUERY_STRING=how).body, expected, how)

    def test_no_body(self):
        self.assertEqual(self.ask("/echo").body, b"")
        self.assertEqual(self.ask("/echo", QUERY_STRING="lines").body, b"")

    def test_a_body_in_pieces(self):
        with self.worker.connect() as connection:
            connection.send(head("/echo", 8, QUERY_STRING="lines"))
            for piece in (b"a", b"b\n", b"cd", b"e\n", b"f"):
                connection.send(record(STDIN, piece))
            connection.send(record(STDIN))
            self.assertEqual(connection.response().body, b"ab\n|cde\n|f")

    def test_content_length_ends_the_body(self):
        with self.worker.connect() as connection:
            connection.send(head("/echo", 4, QUERY_STRING="all"), stream(STDIN, b"1234567"))
            self.assertEqual(connection.response().body, b"1234")
            self.assertEqual(connection.request("/hello").body, b"hello\n")

    def test_without_content_length_the_stream_ends_the_body(self):
        with self.worker.connect() as connection:
            connection.send(head("/echo", None, QUERY_STRING="all"), stream(STDIN, b"1234567"))
            self.assertEqual(connection.response().body, b"1234567")

    def test_a_short_body_is_an_error(self):
        with self.worker.connect() as connection:
            connection.send(head("/readfail", 10), stream(STDIN, b"1234"))
            self.assertEqual(connection.response().status, "500 Internal Server Error")
        self.assertLogged("read failed: the request's body ended 6 bytes before its CONTENT_LENGTH")

    def test_a_client_that_leaves(self):
        before = self.worker.errors().count("went away")
        with self.worker.connect() as connection:
            connection.send(head("/readfail", 10), record(STDIN, b"12"))
        eventually(lambda: self.worker.errors().count("read failed: the client went away") > before)
        self.assertEqual(self.ask("/hello").body, b"hello\n")

    def test_an_input_that_is_kept_is_over(self):
        with self.worker.connect() as connection:
            connection.request("/keepinput", body=b"first")
            body = connection.request("/keepinput", body=b"second").body
            self.assertEqual(body, b"the request is over second")


class MountTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.worker = Worker("apps:app_environ", mount="/caf\u00e9/shop").ready()

    @classmethod
    def tearDownClass(cls):
        cls.worker.close()

    def test_the_path_is_cut_where_the_application_is_mounted(self):
        mount = "/caf\u00e9/shop".encode()
        for sent, path_info in [
            ({"SCRIPT_NAME": mount + b"/x", "PATH_INFO": None}, "/x"),
            ({"SCRIPT_NAME": mount, "PATH_INFO": None}, ""),
            ({"SCRIPT_NAME": mount, "PATH_INFO": "/x"}, "/x"),
            ({"SCRIPT_NAME": "", "PATH_INFO": mount + b"/x"}, "/x"),
            ({"SCRIPT_NAME": None, "PATH_INFO": None, "REQUEST_URI": "/caf%C3%A9/shop/a%20b?c"}, "/a b"),
        ]:
            lines = self.worker.request("/x", **sent).body.decode().split("\n")
            environ = dict(line.split("=", 1) for line in lines)
            self.assertEqual(environ["SCRIPT_NAME"], repr(mount.decode("latin-1")), sent)
            self.assertEqual(environ["PATH_INFO"], repr(path_info), sent)

    def test_another_place_is_not_found(self):
        for path in ("/", "/shop", "/caf\u00e9/shops"):
            response = self.worker.request("/", SCRIPT_NAME=path.encode(), PATH_INFO=None)
            self.assertEqual(response.status, "404 Not Found", path)
        self.assertIn("not for a path below mount", self.worker.errors())


class ThreadedEnvironTest(unittest.TestCase):
    def test_multithread(self):
        with Worker("apps:app_environ", threads=2).ready() as worker:
            self.assertIn(b"wsgi.multithread=True", worker.request().body)


if __name__ == "__main__":
    unittest.main()
