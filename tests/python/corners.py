"""A WSGI application of PEP 3333's corners, the same for every kind of worker. The first word of a path names the page; all that can be are
held to the rules by `wsgiref.validate`."""

import os
import sys
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
PAGES = {}
closed = []


def page(function):
    PAGES[function.__name__] = validator(function)
    return function


def raw(function):
    """One that breaks the rules itself, or is about what the validator puts itself before."""
    PAGES[function.__name__] = function
    return function


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[0]
    return PAGES[name](environ, start_response)


@page
def kind(environ, start_response):
    start_response("200 OK", TEXT)
    names = "multithread", "multiprocess", "run_once"
    return [" ".join(str(environ["wsgi." + name]) for name in names).encode()]


READ = {
    "all": lambda stream: [stream.read(-1)],
    "pieces": lambda stream: list(iter(lambda: stream.read(7), b"")),
    "line": lambda stream: list(iter(stream.readline, b"")),
    "line-of-some": lambda stream: list(iter(lambda: stream.readline(3), b"")),
    "lines": lambda stream: stream.readlines(),
    "lines-of-some": lambda stream: stream.readlines(5) + stream.readlines(),
    "each": list,
    "mixed": lambda stream: [stream.read(1), stream.readline(), next(iter(stream), b""), stream.read(-1)],
}


@page
def read(environ, start_response):
    pieces = READ[environ["QUERY_STRING"]](environ["wsgi.input"])
    # behind the end there is nothing, as often as one asks
    assert environ["wsgi.input"].read(1) == environ["wsgi.input"].readline() == b""
    start_response("200 OK", TEXT)
    return [b"%d:" % len(pieces)] + [piece for piece in pieces if piece]


@raw
def readall(environ, start_response):
    """The validator wants a size; PEP 3333 since 1.0.1 does not."""
    start_response("200 OK", TEXT)
    return [environ["wsgi.input"].read()]


@page
def write(environ, start_response):
    put = start_response("200 OK", TEXT)
    put(b"written ")
    put(b"twice ")
    return [b"returned"]


@page
def status(environ, start_response):
    with_body = not environ["QUERY_STRING"].startswith(("204", "304"))
    start_response(environ["QUERY_STRING"].replace("+", " "), TEXT if with_body else [])
    return [b"body"] if with_body else []


@raw
def informational(environ, start_response):
    start_response("103 Early Hints", TEXT)
    return []


BAD = {
    "newline": ("200 OK", [("X-A", "a\r\nX-B: b")]),
    "name": ("200 OK", [("X A", "a")]),
    "bytes": ("200 OK", [("X-A", b"a")]),
    "hop": ("200 OK", [("Connection", "close")]),
    "wide": ("200 OK", [("X-A", "\u20ac")]),
    "status": ("200", None),
    "status-newline": ("200 OK\r\nX-A: b", TEXT),
    "status-bytes": (b"200 OK", TEXT),
}


@raw
def bad(environ, start_response):
    start_response(*BAD[environ["QUERY_STRING"]])
    return [b"accepted"]


@page
def cookies(environ, start_response):
    start_response("200 OK", TEXT + [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "caf\xe9")])
    return [b"cookies"]


@page
def environment(environ, start_response):
    start_response("200 OK", TEXT)
    return [environ.get(environ["QUERY_STRING"], "absent").encode("latin-1")]


@raw
def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return []


@page
def again(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        raise ValueError("thought better")
    except ValueError:
        start_response("409 Conflict", TEXT, sys.exc_info())
    return [b"again"]


@raw
def late(environ, start_response):
    put = start_response("200 OK", TEXT)
    put(b"x" * 200000)
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("409 Conflict", TEXT, sys.exc_info())
    return [b"never"]


@raw
def silent(environ, start_response):
    return [b"no head"]


class Closing:
    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        return self.blocks

    def close(self):
        closed.append(1)
        print("closed %d" % len(closed), file=sys.stderr, flush=True)


def blocks(how):
    yield b"x" * 200000
    if how == "raise":
        raise RuntimeError("half way")
    while how == "endless":
        yield b"x" * 200000


@page
def closing(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(blocks(environ["QUERY_STRING"]))


@raw
def early(environ, start_response):
    """The body is a generator, which runs when it is asked: so does start_response."""
    start_response("200 OK", TEXT)
    yield b""
    yield b"early"


@raw
def file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(os.path.abspath(__file__), "rb"))
