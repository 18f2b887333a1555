"""What reaches the client of what the application returns, raises and forgets."""

import os
import tempfile
import unittest

from support import END, STDOUT, Cut, Worker, WorkerTest, request


class ResponseTest(WorkerTest):
    target = "apps"

    def test_hello(self):
        response = self.ask("/hello")
        self.assertEqual(response.status, "200 OK")
        self.assertEqual(response.headers, {"content-type": "text/plain", "content-length": "6"})
        self.assertEqual(response.body, b"hello\n")

    def test_write_and_blocks(self):
        for path, body in [("/close", b"onetwo"), ("/excinfo", b"replaced")]:
            self.assertEqual(self.ask(path).body, body)

    def test_headers(self):
        response = self.ask("/header")
        self.assertEqual(response.headers["x-a"], "café")
        self.assertEqual([value for name, value in response.lines if name == b"Set-Cookie"], [b"a", b"b"])

    def test_bad_headers_are_refused(self):
        for how, message in {
            "newline": "ValueError: the value of the header X-A has control characters",
            "control": "ValueError: the value of the header X-A",
            "name": "ValueError: \"X A\" cannot be the name of a header",
            "hop": "ValueError: the header Connection is not the application's",
            "cgi": "ValueError: the header Status is not the application's",
            "bytes": "TypeError: the value of the header X-A must be str, not bytes",
            "list": "TypeError: a header must be a tuple of name and value, not list",
            "tuple": "TypeError: the headers must be a list, not tuple",
            "wide": "beyond Latin-1",
            "lengths": "ValueError: Content-Length must be one number",
        }.items():
            self.assertEqual(self.ask("/header", QUERY_STRING=how).status, "500 Internal Server Error", how)
            self.assertLogged(message)

    def test_statuses(self):
        self.assertEqual(self.ask("/status", QUERY_STRING="418 I'm a teapot").status, "418 I'm a teapot")
        for bad in ("20 OK", "abc", "200OK", "", "099 Low", "100 Continue", "101 Switching Protocols"):
            self.assertEqual(self.ask("/status", QUERY_STRING=bad).status, "500 Internal Server Error", bad)
        self.assertLogged("its number from 200 on, not \"101 Switching Protocols\"")

    def test_responses_without_a_body(self):
        for status in ("204 No Content", "304 Not Modified"):
            response = self.ask("/status", QUERY_STRING=status)
            self.assertEqual((response.body, response.headers.get("content-length")), (b"", None))

    def test_head(self):
        response = self.ask("/hello", REQUEST_METHOD="HEAD")
        self.assertEqual((response.body, response.headers["content-length"]), (b"", "6"))
        response = self.ask("/length", REQUEST_METHOD="HEAD", QUERY_STRING="99")
        self.assertEqual((response.body, response.headers["content-length"]), (b"", "99"))
        response = self.ask("/errors", REQUEST_METHOD="HEAD")
        self.assertNotIn("content-length", response.headers)

    def test_content_length(self):
        self.assertEqual(self.ask("/length", QUERY_STRING="10").body, b"1234567890")
        self.assertEqual(self.ask("/length", QUERY_STRING="7").body, b"1234567")
        self.assertLogged("request r-17 of pool test: the response's body is longer than its Content-Length")
        with self.assertRaises(Cut) as cut:
            self.ask("/length", QUERY_STRING="12")
        self.assertTrue(cut.exception.args[0].endswith(b"1234567890"))
        self.assertLogged("ended 2 bytes before its Content-Length, the response is cut: GET /length")

    def test_blocks_that_are_no_bytes(self):
        self.assertEqual(self.ask("/block", QUERY_STRING="str").status, "500 Internal Server Error")
        self.assertLogged("TypeError: a block of the response's body must be bytes, not str")
        self.assertEqual(self.ask("/block").status, "500 Internal Server Error")

    def test_what_is_no_body(self):
        for how, kind in (("nothing", "NoneType"), ("number", "int")):
            self.assertEqual(self.ask("/block", QUERY_STRING=how).status, "500 Internal Server Error")
            self.assertLogged("TypeError: the application apps must return an iterable of bytes, not %s" % kind)

    def test_file_wrapper(self):
        with open(os.path.join(os.path.dirname(__file__), "apps.py"), "rb") as file:
            self.assertEqual(self.ask("/file").body, file.read())

    def test_errors_and_output(self):
        self.ask("/errors")
        self.assertLogged("to the errors\nand more\n")
        self.assertLogged("to the output\n")

    def test_each_block_is_on_its_way_before_the_next_is_asked_for(self):
        with tempfile.TemporaryDirectory() as folder, self.worker.connect() as connection:
            connection.send(request("/steps", QUERY_STRING=folder))
            for step in range(3):
                _, _, content = connection.record()
                self.assertTrue(content.endswith(b"step %d\n" % step), content)
                open(os.path.join(folder, str(step + 1)), "w").close()
            self.assertEqual((connection.record()[0], connection.record()[0]), (STDOUT, END))

    def test_a_single_block_comes_in_one_write(self):
        with self.worker.connect() as connection:
            connection.send(request("/hello"))
            received = connection.socket.recv(65536)
        self.assertTrue(received.endswith(bytes(8)), "the answer and its end")
        self.assertEqual(received.count(b"hello\n"), 1)

    def test_the_exception_names_the_request(self):
        response = self.ask("/raise/\n", REQUEST_METHOD="POST")
        self.assertEqual(response.status, "500 Internal Server Error")
        self.assertEqual(response.body, b"Internal Server Error\nRequest: r-17\n")
        self.assertLogged("request r-17 of pool test: exception in POST /raise/\\n\nTraceback (most recent call last):\n  File")
        self.assertLogged("ValueError: on purpose")
        self.assertEqual(self.ask("/raise", QUERY_STRING="started").status, "500 Internal Server Error")

    def test_exc_info(self):
        self.assertEqual(self.ask("/excinfo").status, "503 Sorry")
        with self.assertRaises(Cut) as cut:
            self.ask("/excinfo", QUERY_STRING="sent")
        self.assertTrue(cut.exception.args[0].endswith(b"begun"))
        self.assertLogged("KeyError: 'lost'")

    def test_start_response_twice_or_never(self):
        self.assertEqual(self.ask("/twice").status, "500 Internal Server Error")
        self.assertLogged("AssertionError: start_response was called a second time without exc_info")
        self.assertEqual(self.ask("/silent").status, "500 Internal Server Error")
        self.assertLogged("AssertionError: the application sent its response without calling start_response")

    def test_close_is_called_once_whatever_happens(self):
        def count():
            return int(self.ask("/close", QUERY_STRING="count").body)

        before = count()
        self.assertEqual(self.ask("/close").body, b"onetwo")
        self.assertEqual(self.ask("/close", QUERY_STRING="early").status, "500 Internal Server Error")
        self.assertEqual(self.ask("/close", QUERY_STRING="nostart").status, "500 Internal Server Error")
        with self.assertRaises(Cut):
            self.ask("/close", QUERY_STRING="late")
        self.assertEqual(self.ask("/close", QUERY_STRING="failing").body, b"onetwo")
        self.assertLogged("RuntimeError: close failed")
        self.assertEqual(count(), before + 5)

    def test_what_programs_inherit(self):
        listing = self.ask("/child").body.decode()
        self.assertNotIn("socket:", listing)
        self.assertIn("0 -> /dev/null", listing)

    def test_a_client_that_leaves_is_no_fault(self):
        before = self.worker.errors().count("Traceback")
        with self.worker.connect() as connection:
            connection.send(request("/big", QUERY_STRING=str(8 << 20)))
            connection.record()
        self.assertEqual(self.ask("/hello").body, b"hello\n")
        self.assertEqual(self.worker.errors().count("Traceback"), before)


class ValidatorTest(unittest.TestCase):
    def test_the_validator_finds_nothing(self):
        with Worker("apps:validated").ready() as worker:
            for parameters in ({}, {"SCRIPT_NAME": "/x", "PATH_INFO": None}, {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "a/b"}):
                body = b"123line\nrest" if parameters.get("REQUEST_METHOD") else b""
                response = worker.request("/v", body=body, **parameters)
                self.assertEqual((response.status, response.body), ("200 OK", b"read " + body), worker.errors())
            self.assertEqual(worker.errors(), "")
        with Worker("apps:validated_write").ready() as worker:
            self.assertEqual(worker.request("/v").body, b"written returned")
            self.assertEqual(worker.errors(), "")


if __name__ == "__main__":
    unittest.main()
