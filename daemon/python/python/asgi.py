"""Serves an ASGI application (specification 3.0) on an event loop. The wire is the extension's (`Codec`); sockets are the loop's."""

import asyncio
import http
import os
import signal
import socket
import sys
import time

import stockade
from stockade_python import Codec
from stockade_python.report import write as report
from stockade_python.serving import exit_status, name_in_reports, of_leaving
from stockade_python.warm import Call, answered, freeze, raised

# a body that nobody takes is read this far ahead
AHEAD = 64 * 1024
STARTUP_FAILED = 3
# connections that wait while the loop is held up, beyond one for each request: the relay asks about requests whose clients left on others
MORE = 128
# of the time until KILL, what is left for the application's own shutdown when its tasks were cancelled
CLEANUP = 0.25
# the worker of this process
serving = None
STATUS_LINES = {int(status): "%d %s" % (status, status.phrase) for status in http.HTTPStatus}
VERSIONS = {"version": "3.0", "spec_version": "2.4"}


class Gone(OSError):
    """What `send` raises when nobody wants the response any more."""


class Connection(asyncio.Protocol):
    """One connection of the relay; it carries one request at a time."""

    __slots__ = ("worker", "codec", "transport", "request", "room", "paused")

    def __init__(self, worker):
        self.worker = worker
        self.codec = Codec(worker.scopes, worker.connections)
        # the one whose response is not complete
        self.request = None
        # while what was written waits: a future of its end
        self.room = None
        self.paused = False

    def connection_made(self, transport):
        self.transport = transport
        self.worker.open.add(self)

    def connection_lost(self, error):
        self.worker.closed(self)
        self.resume_writing()
        if self.request is not None:
            self.request.leave()

    def data_received(self, data):
        codec = self.codec
        if codec.fate != "keep":
            if not codec.dropped(len(data)):
                self.transport.close()
            return
        try:
            begun = codec.feed(data)
        except OSError:
            self.transport.abort()
            return
        request = self.request
        if begun:
            self.begin()
        elif request is not None:
            if codec.aborted:
                request.leave()
            else:
                request.wake()
                if codec.buffered > AHEAD and not self.paused:
                    self.paused = True
                    self.transport.pause_reading()
        self.flush()
        if self.request is None:
            self.settle()

    def eof_received(self):
        return False

    def pause_writing(self):
        self.room = self.worker.loop.create_future()

    def resume_writing(self):
        room, self.room = self.room, None
        if room is not None and not room.done():
            room.set_result(None)

    def begin(self):
        scope = self.codec.request()
        if scope is None:
            return
        if self.worker.state is not None:
            scope["state"] = self.worker.state.copy()
        self.request = request = Request(self, scope)
        self.worker.begin(request)

    def read_on(self):
        if self.paused:
            self.paused = False
            self.transport.resume_reading()

    def flush(self):
        outgoing = self.codec.outgoing()
        if outgoing is not None:
            self.transport.write(outgoing)

    def ended(self):
        """The response is complete, or cannot be."""
        self.request = None
        self.flush()
        self.read_on()
        self.settle()

    def settle(self):
        fate = self.codec.fate
        if fate == "close" or (self.worker.stopping and fate == "keep"):
            self.transport.close()
        elif fate == "linger" and not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError:
                self.transport.close()


class Request:
    """What the application calls `receive` and `send`."""

    __slots__ = ("connection", "scope", "begun", "arriving", "complete", "gone", "news", "status", "told")

    def __init__(self, connection, scope):
        self.connection = connection
        self.scope = scope
        self.begun = time.monotonic()
        self.arriving = True
        self.complete = False
        self.gone = False
        # what a developer is told of its failure
        self.told = None
        self.news = None
        # what the response began with
        self.status = None

    async def receive(self):
        while self.arriving and not self.complete and not self.gone:
            body, more = self.connection.codec.body()
            if body or not more:
                self.arriving = more
                self.connection.read_on()
                return {"type": "http.request", "body": body, "more_body": more}
            await self.wait()
        while not self.complete and not self.gone:
            await self.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        kind = message.get("type")
        if self.complete:
            raise RuntimeError("%s was sent behind the end of the response" % kind)
        if self.gone:
            raise Gone("the client went away")
        connection = self.connection
        if kind == "http.response.body":
            more = message.get("more_body", False)
            connection.codec.send(message.get("body", b""), more)
            if not more:
                self.finish()
                return
            connection.flush()
            if connection.room is not None:
                await asyncio.shield(connection.room)
        elif kind == "http.response.start":
            status = message.get("status")
            line = STATUS_LINES.get(status)
            if line is None:
                if not isinstance(status, int):
                    raise TypeError("the status of http.response.start must be int, not %s" % type(status).__name__)
                line = "%d" % status
            connection.codec.start(line, message.get("headers", ()))
            self.status = status
        else:
            raise RuntimeError("a message of the type %r cannot be sent: a response is http.response.start and http.response.body" % kind)

    def finish(self):
        self.complete = True
        if self.connection.codec.overflowed:
            self.say("the response's body is longer than its Content-Length, the rest is dropped")
        self.wake()
        self.connection.ended()

    def fail(self):
        """The application did not complete its response."""
        if self.complete or self.gone:
            return
        self.complete = True
        codec = self.connection.codec
        if codec.sent:
            codec.cut()
        else:
            self.status = 500
            codec.fail(self.name(), self.told)
        self.wake()
        self.connection.ended()

    def leave(self):
        self.gone = True
        self.wake()

    def wake(self):
        if self.news is not None:
            self.news.set()

    async def wait(self):
        if self.news is None:
            self.news = asyncio.Event()
        self.news.clear()
        await self.news.wait()

    def name(self):
        return self.scope.get("extensions", {}).get("stockade", {}).get("request_id")

    def say(self, fault, error=None):
        what = fault + (" in" if error else ":")
        line = name_in_reports(what, self.name(), self.connection.worker.pool, self.scope["method"], self.scope["path"])
        # without this module's frame
        frames = error and (error.__traceback__.tb_next or error.__traceback__)
        text = report(line, error, frames)
        if self.connection.worker.development:
            self.told = text


class Worker:
    """The application, its connections and tasks, and the end of them."""

    def __init__(self, application, scopes, listener, supervisor, connections, patience, requests, development):
        self.application = application
        self.scopes = scopes
        # its number
        self.listener = listener
        self.supervisor = supervisor
        self.connections = connections
        # seconds from the stop-signal until KILL; None: as long as it takes
        self.patience = patience
        # `warm-up`: URLs and their scopes
        self.requests = requests
        # sources are watched: clients are told of exceptions
        self.development = development
        self.pool = os.environ.get("STOCKADE_POOL")
        self.loop = None
        self.open = set()
        self.tasks = set()
        self.state = None
        self.stopping = False
        self.status = 0
        self.reason = "requested"
        self.seat = stockade._use_context()
        self.ended = None
        self.emptied = None

    async def main(self):
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()
        lifespan = Lifespan(self)
        if not await lifespan.startup():
            return STARTUP_FAILED
        await self.warm_up()
        for each in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(each, self.stop, 0)
        listener = socket.socket(fileno=self.listener)
        # the socket's name is the supervisor's
        options = {"cleanup_socket": False} if sys.version_info >= (3, 13) and not self.has_uvloop() else {}
        server = await self.loop.create_unix_server(
            lambda: Connection(self), sock=listener, backlog=self.connections + MORE, **options
        )
        if self.supervisor is not None:
            self.loop.add_reader(self.supervisor.fileno(), self.heard)
            self.supervisor.ready()
        await self.ended
        server.close()
        self.heard()
        stockade._stopping(self.reason)
        await self.wind_up()
        stockade._run_before_retire()
        await lifespan.shutdown()
        return self.status

    async def warm_up(self):
        """Answers `warm-up`. What goes wrong is told, and is not the end of it."""
        requests, self.requests = self.requests, ()
        for url, scope in requests:
            if self.state is not None:
                scope["state"] = self.state.copy()
            answer = Call()
            try:
                await self.application(scope, answer.receive, answer.send)
            except BaseException as error:
                if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt)):
                    raise
                raised(url, error)
            else:
                answered(url, answer.status)
        if requests:
            freeze()

    def has_uvloop(self):
        return type(self.loop).__module__.startswith("uvloop")

    def begin(self, request):
        task = self.loop.create_task(self.answer(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, request):
        # of this task and those that it starts
        seat = [request.scope, time.time(), None, 0.0]
        self.seat.set(seat)
        task = asyncio.current_task()
        stockade._seats[task] = seat
        watched = bool(stockade._watched)
        try:
            if watched:
                stockade._begin(seat)
            await self.application(request.scope, request.receive, request.send)
            if not request.complete and not request.gone:
                request.say("the application returned before the end of its response")
        except asyncio.CancelledError:
            if not request.complete and not request.gone:
                request.say("cancelled, for the worker ends")
        except BaseException as error:
            # that the client left is no fault of the application
            if not (request.gone and of_leaving(error)):
                request.say("exception", error)
                if watched:
                    stockade._raised(seat, error)
            self.end_if_asked(error)
        request.fail()
        if watched:
            stockade._end(seat, request.status)
        seat[0] = seat[2] = None
        del stockade._seats[task]

    def end_if_asked(self, error):
        status = exit_status(error)
        if status is not None:
            self.stop(status, "exit-code")

    def heard(self):
        if self.supervisor is None:
            return
        there, cause = self.supervisor.hear()
        if cause is not None:
            self.reason = cause
            stockade._stopping(cause)
        if not there:
            self.loop.remove_reader(self.supervisor.fileno())
            self.stop(0, "supervisor-gone")

    def stop(self, status, reason="requested"):
        """Ends the worker when what runs is done. The first status counts."""
        if self.stopping:
            return
        self.stopping = True
        self.status = status
        self.reason = reason
        for connection in list(self.open):
            if connection.request is None:
                connection.settle()
        self.ended.set_result(None)

    async def wind_up(self):
        """Waits for what the application has begun, background tasks included; cancels what takes too long."""
        wait = None if self.patience is None else self.patience * (1 - CLEANUP)
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=wait)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=self.patience * CLEANUP / 2)
        # closed behind what was written last
        for connection in list(self.open):
            connection.transport.close()
        if self.open:
            self.emptied = self.loop.create_future()
            await self.emptied

    def closed(self, connection):
        self.open.discard(connection)
        if self.emptied is not None and not self.open and not self.emptied.done():
            self.emptied.set_result(None)


class Lifespan:
    """The application's own startup and shutdown, where it has them."""

    def __init__(self, worker):
        self.worker = worker
        self.events = asyncio.Queue()
        self.answered = None
        self.task = None
        self.raised = None

    async def startup(self):
        """False: it failed, and has said why."""
        state = {}
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": state}
        self.task = asyncio.ensure_future(self.run(scope))
        answer = await self.ask("lifespan.startup")
        if answer is None:
            # who raises is served without (specification, lifespan); one that did not even ask for the event knows nothing of it
            if self.raised is not None and self.events.empty():
                report("the application's lifespan raised, it is served without", self.raised, self.raised.__traceback__)
            return True
        if answer["type"] == "lifespan.startup.failed":
            report("the application's startup failed: %s" % answer.get("message", ""), None, None)
            return False
        self.worker.state = state
        return True

    async def shutdown(self):
        if self.task is None or self.task.done():
            return
        answer = await self.ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            report("the application's shutdown failed: %s" % answer.get("message", ""), None, None)
        elif self.raised is not None:
            report("the application's shutdown failed", self.raised, self.raised.__traceback__)

    async def ask(self, event):
        """The application's answer; None: it is not interested."""
        if self.task.done():
            return None
        self.answered = asyncio.get_running_loop().create_future()
        self.events.put_nowait({"type": event})
        await asyncio.wait({self.answered, self.task}, return_when=asyncio.FIRST_COMPLETED)
        return self.answered.result() if self.answered.done() else None

    async def run(self, scope):
        try:
            await self.worker.application(scope, self.events.get, self.send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.raised = error

    async def send(self, message):
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(message)


def loop_factory():
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def serve(application, scopes, listener, supervisor, connections, patience, requests, development):
    """Runs the worker; its exit status."""
    global serving
    serving = worker = Worker(application, scopes, listener, supervisor, connections, patience, requests, development)
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(worker.main())
    finally:
        try:
            leftover = asyncio.all_tasks(loop)
            for task in leftover:
                task.cancel()
            if leftover:
                loop.run_until_complete(asyncio.wait(leftover, timeout=0.5))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            sys.stderr.flush()
