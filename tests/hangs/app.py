"""An application that hangs in every way there is, as the query says. A file beside it that is called `import` makes its import hang."""

import ctypes
import os
import signal
import sys
import time

HOME = os.path.dirname(os.path.abspath(__file__))


def application(environ, start_response):
    word, _, argument = environ["QUERY_STRING"].partition("=")
    if word == "head":
        return behind_the_head(start_response)
    if word:
        print("stuck in", word, flush=True)
        WAYS[word](argument)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"pid %d\n" % os.getpid()]


def behind_the_head(start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"so far"
    print("stuck in head", flush=True)
    time.sleep(600)


def sleep(_):
    time.sleep(600)


def loop(_):
    while True:
        pass


def busy(seconds):
    """Not stuck: it only takes its time, and the processor's."""
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        pass


def wait(name):
    """Until the file is there."""
    while not os.path.exists(os.path.join(HOME, name)):
        time.sleep(0.002)


def lock(_):
    """In C, with the interpreter's lock: what a PyDLL does keeps it. The second call waits for the first, whatever signal comes."""
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def deaf(_):
    while True:
        try:
            sleep(None)
        except BaseException as error:
            print("swallowed", type(error).__name__, flush=True)


def blocked(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sleep(None)


def disk(path):
    os.stat(path)


def child(_):
    """A process that has left the group and holds all that its parent had."""
    if os.fork() == 0:
        os.setsid()
        print("child", os.getpid(), flush=True)
        time.sleep(600)
        os._exit(0)
    sleep(None)


WAYS = {
    way.__name__: way for way in (sleep, loop, busy, wait, lock, deaf, blocked, disk, child)
}

if os.path.exists(os.path.join(HOME, "import")):
    print("stuck in import", flush=True)
    time.sleep(600)
