"""Serves a WSGI application in greenlets of gevent or eventlet. The wire is the extension's (`Codec`); sockets, threads and waiting are Python's
own, which the hub has replaced before the application was imported: a thread here is a greenlet.
"""

import io
import os
import select
import signal
import socket
import sys
import threading
import time

import stockade
from stockade_python import Codec
from stockade_python.report import write as report
from stockade_python.serving import exit_status, name_in_reports

READ = 64 * 1024
# a body this long is written as it is
SMALL = 64 * 1024


def patch(hub):
    """Replaces what waits in Python's library; before anything of the application is imported."""
    try:
        if hub == "gevent":
            from gevent import monkey

            monkey.patch_all()
        else:
            import eventlet

            eventlet.monkey_patch()
    except ImportError as error:
        sys.stderr.write(
            "could not use concurrency = \"%s\": %s\nremedy: install it with `%s -m pip install %s`\n"
            % (hub, error, sys.executable, hub)
        )
        raise SystemExit(5)


class Body(io.RawIOBase):
    """`wsgi.input`, unbuffered."""

    def __init__(self, connection):
        self.connection = connection
        self.rest = b""
        self.more = True

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self.rest and self.more:
            self.rest, self.more = self.connection.codec.body()
            if not self.rest and self.more and not self.connection.receive():
                raise OSError("the client went away before its request was complete")
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


class Connection:
    """One connection of the relay, and the request that it carries."""

    def __init__(self, worker, sock):
        self.worker = worker
        self.sock = sock
        self.codec = Codec(worker.environs, worker.connections)
        self.begun = False
        # when its request came
        self.since = None
        self.gone = False
        # what the response began with
        self.status = None

    def serve(self):
        try:
            while self.begun or self.receive():
                if self.begun:
                    self.begun = False
                    self.answer()
                self.flush()
                if self.codec.fate != "keep" or self.worker.stopping:
                    break
            if self.codec.fate == "linger":
                self.linger()
        # the peer left, or does not speak FastCGI
        except OSError:
            pass
        finally:
            self.worker.open.discard(self)
            self.close()

    def close(self):
        try:
            # other processes (forked by the application) may hold it too
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def receive(self):
        """False: the peer closed."""
        self.flush()
        try:
            data = self.sock.recv(READ)
        except OSError:
            self.gone = True
            raise
        self.gone = not data
        self.begun = self.codec.feed(data) or self.begun
        return bool(data) and not self.codec.aborted

    def flush(self):
        outgoing = self.codec.outgoing()
        if outgoing is not None:
            try:
                self.sock.sendall(outgoing)
            except OSError:
                self.gone = True
                raise

    def linger(self):
        self.sock.shutdown(socket.SHUT_WR)
        while True:
            data = self.sock.recv(READ)
            if not data or not self.codec.dropped(len(data)):
                return

    def answer(self):
        environ = self.codec.request()
        if environ is None:
            return
        self.since = time.monotonic()
        self.worker.running += 1
        # of this greenlet
        seat = [environ, time.time(), None, 0.0]
        self.worker.seat.set(seat)
        place = threading.get_ident()
        stockade._seats[place] = seat
        watched = bool(stockade._watched)
        try:
            if watched:
                stockade._begin(seat)
            self.run(environ)
        except BaseException as error:
            told = None
            # that the client left is no fault of the application
            if not (self.gone and isinstance(error, OSError)):
                told = self.say(environ, "exception", error)
                if watched:
                    stockade._raised(seat, error)
            status = exit_status(error)
            if status is not None:
                self.worker.stop(status, "exit-code")
            self.fail(environ, told if self.worker.development else None)
        finally:
            if watched:
                stockade._end(seat, self.status)
            seat[0] = seat[2] = None
            del stockade._seats[place]
            self.worker.running -= 1
            self.worker.news.set()
        if self.codec.overflowed:
            self.say(environ, "the response's body is longer than its Content-Length, the rest is dropped")

    def run(self, environ):
        codec = self.codec
        self.status = None
        environ["wsgi.input"] = io.BufferedReader(Body(self), READ)

        def start_response(status, headers, exc_info=None, /):
            try:
                if exc_info is not None and codec.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info_given, exc_info = exc_info is not None, None
            if codec.started and not exc_info_given:
                raise AssertionError("start_response was called a second time without exc_info")
            codec.start_response(status, headers)
            self.status = int(status[:3])
            return write

        def write(data, /):
            codec.send(data, True)
            self.flush()

        blocks = self.worker.application(environ, start_response)
        try:
            if type(blocks) in (list, tuple):
                codec.announce(sum(len(block) for block in blocks))
            whole = type(blocks) in (list, tuple) and sum(map(len, blocks)) <= SMALL
            for block in blocks:
                if block:
                    codec.send(block, True)
                    if not whole:
                        self.flush()
            codec.send(b"", False)
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def fail(self, environ, told):
        """The application did not complete its response."""
        codec = self.codec
        if codec.complete:
            return
        if codec.sent or self.gone:
            codec.cut()
        else:
            self.status = 500
            codec.fail(environ.get("REQUEST_ID"), told)

    def say(self, environ, fault, error=None):
        path = environ.get("PATH_INFO") or environ.get("SCRIPT_NAME", "")
        line = name_in_reports(
            fault + (" in" if error else ":"), environ.get("REQUEST_ID"), self.worker.pool, environ["REQUEST_METHOD"], path
        )
        # without this module's frames
        frames = error and error.__traceback__
        while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        return report(line, error, frames)


class Worker:
    def __init__(self, application, environs, listener, supervisor, connections, development):
        self.application = application
        self.environs = environs
        # its number
        self.listener = listener
        self.supervisor = supervisor
        self.connections = connections
        # sources are watched: clients are told of exceptions
        self.development = development
        self.pool = os.environ.get("STOCKADE_POOL")
        self.open = set()
        self.running = 0
        self.stopping = False
        self.status = 0
        self.reason = "requested"
        self.seat = stockade._use_context()
        # something has come to an end
        self.news = threading.Event()
        # what the main thread waits for besides the supervisor
        self.wakes, self.wake = socket.socketpair()

    def main(self):
        listener = socket.socket(fileno=self.listener)
        self.wakes.setblocking(False)
        self.wake.setblocking(False)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: self.stop(0))
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        start(self.accept, listener)
        if self.supervisor is not None:
            self.supervisor.ready()
        watched = [self.wakes] + ([self.supervisor] if self.supervisor is not None else [])
        while not self.stopping:
            happened, _, _ = select.select(watched, [], [])
            if self.wakes in happened:
                # a signal's handler has run, or runs before the next wait
                self.wakes.recv(64)
            if self.supervisor in happened:
                self.hear()
        listener.close()
        self.hear()
        stockade._stopping(self.reason)
        # what runs is answered; what is kept and idle is closed
        while self.running:
            self.news.clear()
            if self.running:
                self.news.wait()
        stockade._run_before_retire()
        for connection in list(self.open):
            connection.close()
        signal.set_wakeup_fd(-1)
        return self.status

    def hear(self):
        if self.supervisor is None:
            return
        there, cause = self.supervisor.hear()
        if cause is not None:
            self.reason = cause
            stockade._stopping(cause)
        if not there:
            self.stop(0, "supervisor-gone")

    def accept(self, listener):
        while not self.stopping:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if self.stopping:
                    return
                report("the worker ends, for it cannot take connections: %s" % error, None, None)
                self.stop(1, "exit-code")
                return
            connection = Connection(self, sock)
            self.open.add(connection)
            start(connection.serve)

    def stop(self, status, reason="requested"):
        """Ends the worker when what runs is answered. The first status counts."""
        if not self.stopping:
            self.stopping = True
            self.status = status
            self.reason = reason
            self.news.set()
            try:
                self.wake.send(b"\0")
            except BlockingIOError:
                # it is full, and so it wakes
                pass


def start(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


def serve(application, environs, listener, supervisor, connections, development):
    """Runs the worker; its exit status."""
    return Worker(application, environs, listener, supervisor, connections, development).main()
