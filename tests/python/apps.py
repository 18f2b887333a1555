"""Applications for the tests, by path: `application` looks the path's first word up in this module."""

import os
import sys
import threading
import time
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
BLOCK = b"x" * 65536
barrier = threading.Barrier(4)
closed = []
kept = {}


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[0] or "hello"
    return globals()["app_" + name](environ, start_response)


def app_hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello\n"]


@validator
def validated(environ, start_response):
    body = environ["wsgi.input"].read(3)
    rest = environ["wsgi.input"].readline()
    rest += b"".join(environ["wsgi.input"])
    start_response("200 OK", TEXT)
    return [b"read ", body, rest]


@validator
def validated_write(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written ")
    return [b"returned"]


def app_environ(environ, start_response):
    start_response("200 OK", TEXT)
    lines = ["%s=%r" % item for item in sorted(environ.items()) if isinstance(item[1], (str, bool, tuple))]
    return ["\n".join(lines).encode()]


def app_echo(environ, start_response):
    stream = environ["wsgi.input"]
    how = environ["QUERY_STRING"]
    if how == "all":
        blocks = [stream.read(2), stream.read(), stream.read()]
    elif how == "lines":
        blocks = [b"|".join(stream)]
    elif how == "readlines":
        blocks = [b"|".join(stream.readlines())]
    elif how == "hint":
        blocks = [b"|".join(stream.readlines(3))]
    elif how == "bounded":
        blocks = [stream.readline(2), b"|", stream.readline(-1), b"|", stream.read(1), stream.read(None)]
    else:
        blocks = []
        while True:
            block = stream.read(4)
            if not block:
                break
            blocks += [block, b"|"]
    start_response("200 OK", TEXT)
    return blocks


def app_count(environ, start_response):
    total = 0
    while True:
        block = environ["wsgi.input"].read(65536)
        if not block:
            break
        total += len(block)
    start_response("200 OK", TEXT)
    return [str(total).encode()]


def app_readfail(environ, start_response):
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        print("read failed:", error)
        raise
    start_response("200 OK", TEXT)
    return [b"no failure"]


def app_keepinput(environ, start_response):
    if "input" in kept:
        try:
            result = repr(kept.pop("input").read())
        except ValueError as error:
            result = str(error)
        environ["wsgi.input"].close()
        start_response("200 OK", TEXT)
        return [result.encode(), b" ", environ["wsgi.input"].read()]
    kept["input"] = environ["wsgi.input"]
    start_response("200 OK", TEXT)
    return [b"kept"]


def app_big(environ, start_response):
    start_response("200 OK", TEXT)
    count = int(environ["QUERY_STRING"]) // len(BLOCK)
    return (BLOCK for _ in range(count))


def app_single(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"y" * int(environ["QUERY_STRING"])]


def app_steps(environ, start_response):
    """Each block waits until the test has seen the one before."""
    start_response("200 OK", TEXT)
    folder = environ["QUERY_STRING"]
    for step in range(3):
        while step and not os.path.exists(os.path.join(folder, str(step))):
            time.sleep(0.001)
        yield b"step %d\n" % step


class Closing:
    def __init__(self, blocks, failing=False):
        self.blocks = iter(blocks)
        self.failing = failing

    def __iter__(self):
        return self

    def __next__(self):
        block = next(self.blocks)
        if isinstance(block, Exception):
            raise block
        return block

    def close(self):
        closed.append(1)
        if self.failing:
            raise RuntimeError("close failed")


def app_close(environ, start_response):
    how = environ["QUERY_STRING"]
    if how == "count":
        start_response("200 OK", TEXT)
        return [str(len(closed)).encode()]
    if how != "nostart":
        start_response("200 OK", TEXT)
    if how == "early":
        return Closing([ValueError("before any block")])
    if how == "late":
        return Closing([b"begun", ValueError("after a block")])
    return Closing([b"", b"one", b"", b"two"], how == "failing")


def app_raise(environ, start_response):
    how = environ["QUERY_STRING"]
    if how == "started":
        start_response("200 OK", TEXT)
    if how == "exit":
        sys.exit(7)
    raise ValueError("on purpose")


def app_excinfo(environ, start_response):
    write = start_response("200 OK", TEXT)
    if environ["QUERY_STRING"] == "sent":
        write(b"begun")
    try:
        raise KeyError("lost")
    except KeyError:
        start_response("503 Sorry", TEXT, sys.exc_info())
    return [b"replaced"]


def app_twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return []


def app_silent(environ, start_response):
    return [b"no head"]


def app_status(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("+", " "), TEXT)
    return [b"body"]


BAD = {
    "newline": [("X-A", "a\r\nX-B: b")],
    "control": [("X-A", "a\0b")],
    "name": [("X A", "a")],
    "hop": [("Connection", "close")],
    "cgi": [("Status", "200 OK")],
    "bytes": [("X-A", b"a")],
    "list": [["X-A", "a"]],
    "tuple": (("X-A", "a"),),
    "wide": [("X-A", "\u20ac")],
    "lengths": [("Content-Length", "1"), ("Content-Length", "2")],
}


def app_header(environ, start_response):
    start_response("200 OK", BAD.get(environ["QUERY_STRING"], [("X-A", "caf\u00e9"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]))
    return [b"body"]


def app_block(environ, start_response):
    start_response("200 OK", TEXT)
    return {"str": ["text"], "nothing": None, "number": 5}.get(environ["QUERY_STRING"], [b"fine", None])


def app_length(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", environ["QUERY_STRING"])])
    return [b"12345", b"67890"]


def app_file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(__file__, "rb"), 1000)


def app_errors(environ, start_response):
    environ["wsgi.errors"].write("to the errors\n")
    environ["wsgi.errors"].writelines(["and more\n"])
    print("to the output")
    start_response("200 OK", TEXT)
    return []


def app_barrier(environ, start_response):
    barrier.wait(15)
    start_response("200 OK", TEXT)
    return [threading.current_thread().name.encode()]


def app_busy(environ, start_response):
    """Runs until the file is there."""
    print("busy", flush=True)
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.001)
    start_response("200 OK", TEXT)
    return [b"finished"]


def app_reading(environ, start_response):
    print("reading", flush=True)
    start_response("200 OK", TEXT)
    return [environ["wsgi.input"].read()]


def app_early(environ, start_response):
    """Does not read its body."""
    start_response("200 OK", TEXT)
    return [b"unread"]


def app_child(environ, start_response):
    """What a program started by the application inherits."""
    import subprocess

    out = subprocess.run(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE).stdout
    start_response("200 OK", TEXT)
    return [out]


def app_process(environ, start_response):
    start_response("200 OK", TEXT)
    names = [name for name in os.environ if name.startswith("STOCKADE_")]
    return [repr((sorted(names), sys.argv, sys.path[0])).encode()]


def app_stuck(environ, start_response):
    """Does not end by itself, in the way that is asked for."""
    from stockade import RequestTimeout

    how = environ["QUERY_STRING"]
    print("stuck in", how, flush=True)
    try:
        stuck_in(how, environ)
    except RequestTimeout:
        if how != "caught":
            raise
    start_response("200 OK", TEXT)
    return [b"caught"]


def stuck_in(how, environ):
    if how == "sleep":
        time.sleep(600)
    elif how == "lock":
        import ctypes

        # a library of Python's: its functions keep the lock
        ctypes.PyDLL(None).sleep(2)
        print("got it back", flush=True)
    elif how == "deaf":
        for _ in range(3):
            try:
                stuck_in("loop", environ)
            except BaseException:
                print("swallowed", flush=True)
                while not os.path.exists(environ["REQUEST_ID"]):
                    time.sleep(0.001)
                return
    else:
        while True:
            pass


def app_short(environ, start_response):
    """About as long as it takes to break it off."""
    sum(range(int(environ["QUERY_STRING"])))
    start_response("200 OK", TEXT)
    return [b"short"]
