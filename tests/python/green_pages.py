"""One WSGI application for gevent and eventlet, a path each. What it imports waits as the hub does, or nothing here ends."""

import os
import socket
import sys
import threading
import time
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
INPUT = os.readlink("/proc/self/fd/0")
SOCKET = socket.socket.__module__
gate = threading.Barrier(50)


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/") or "hello"
    return globals()["page_" + name](environ, start_response)


def page_hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"Hello, ", environ["QUERY_STRING"].encode(), b"!\n"]


def page_hub(environ, start_response):
    start_response("200 OK", TEXT)
    return ["{} {} {}".format(SOCKET, environ["wsgi.multithread"], environ["wsgi.multiprocess"]).encode()]


def page_input(environ, start_response):
    start_response("200 OK", TEXT)
    return [INPUT.encode()]


def page_together(environ, start_response):
    gate.wait()
    start_response("200 OK", TEXT)
    return [b"together\n"]


def page_read(environ, start_response):
    length = wrong = block = 0
    while piece := environ["wsgi.input"].read(65536):
        wrong += int.from_bytes(piece[:8], "big") != block if len(piece) >= 8 else 0
        length += len(piece)
        block += 1
    start_response("200 OK", TEXT)
    return [f"length {length} wrong {wrong}".encode()]


@validator
def page_validated(environ, start_response):
    start_response("200 OK", TEXT)
    return [environ["wsgi.input"].readline() or b"nothing"]


def page_early(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"early\n"]


def page_stream(environ, start_response):
    start_response("200 OK", [])
    for block in range(320):
        yield block.to_bytes(8, "big") + bytes(65528)


def page_write(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written ")
    return [b"returned"]


def page_broken(environ, start_response):
    raise RuntimeError("the application's own words")


def page_twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return []


def page_again(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        raise ValueError("thought better")
    except ValueError:
        start_response("409 Conflict", TEXT, sys.exc_info())
    return [b"again"]


def page_cut(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"x" * 200000
    raise RuntimeError("half way")


def page_slow(environ, start_response):
    time.sleep(0.5)
    start_response("200 OK", TEXT)
    return [b"slow\n"]


def page_exit(environ, start_response):
    sys.exit(7)
