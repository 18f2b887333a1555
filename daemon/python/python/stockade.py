"""What an application can know of Stockade and ask of it; docs/python.md has it under "The module `stockade`".

Every Python worker has this file as the module `stockade`, and outside Stockade it is a package that can be imported all the same: what is
subscribed to never happens there. What only a worker knows its adapter tells here (`_activate`). It imports as little as it can: every
worker pays for it.
"""

import os
import sys
from _thread import get_ident
from time import monotonic

__all__ = [
    "LogHandler", "Request", "RequestTimeout", "active", "after_fork", "before_fork", "before_retire", "current_request", "generation", "on",
    "pool", "subscribe", "version", "worker",
]

# inside a worker of Stockade
active = False
# Stockade's own, inside a worker
version = None
# of the worker that this process is or was started by; None outside
pool = worker = generation = None


class RequestTimeout(BaseException):
    """The time of the request that this thread is at is over, and its client has been answered 504."""


class Request:
    """A request, as it was handed to the application."""

    __slots__ = ("id", "method", "path", "start", "queue_time", "_data")

    def __init__(self, facts, start):
        # a WSGI environ, or an ASGI scope
        if "wsgi.version" in facts:
            self.id = facts.get("REQUEST_ID")
            self.method = facts["REQUEST_METHOD"]
            path = facts.get("SCRIPT_NAME", "") + facts.get("PATH_INFO", "")
            self.path = path.encode("latin-1", "replace").decode("utf-8", "replace")
            waited = facts.get("STOCKADE_QUEUE")
        else:
            ours = facts.get("extensions", {}).get("stockade", {})
            self.id = ours.get("request_id")
            self.method = facts["method"]
            self.path = facts["path"]
            waited = ours.get("queue_time")
        self.start = start
        self.queue_time = _seconds(waited)
        self._data = None

    @property
    def data(self):
        """A dictionary for the application's own use."""
        if self._data is None:
            self._data = {}
        return self._data

    def __repr__(self):
        return "<stockade.Request %s: %s %s>" % (self.id, self.method, self.path)


class Event:
    """What a callback is told; what does not belong to the event is None."""

    __slots__ = ("name", "request", "status", "duration", "exception", "reason")

    def __init__(self, name, request=None, status=None, duration=None, exception=None, reason=None):
        self.name = name
        self.request = request
        self.status = status
        self.duration = duration
        self.exception = exception
        self.reason = reason


def current_request():
    """The request that this thread, greenlet or task is at; None: none."""
    seat = _seat()
    return seat and _request_at(seat)


def subscribe(event, callback):
    """Has `callback` called with an `Event` each time; returns it."""
    callbacks = _callbacks_of(event)
    _check(callback)
    callbacks.append(callback)
    if event != "process_stopping":
        _watched.append(event)
    return callback


def on(event):
    """Subscribes the function that it decorates."""
    _callbacks_of(event)
    return lambda callback: subscribe(event, callback)


def before_retire(hook):
    """Has `hook` called once before the worker ends, when its last request is answered."""
    return _add(_before_retire, hook)


def before_fork(hook):
    """Has `hook` called once in a template, when it has loaded the application, before any worker is forked of it (`preload`)."""
    return _add(_before_fork, hook)


def after_fork(hook):
    """Has `hook` called in each worker that a template has forked, before its first request (`preload`)."""
    return _add(_after_fork, hook)


def __getattr__(name):
    if name != "LogHandler":
        raise AttributeError("module 'stockade' has no attribute %r" % name)
    globals()[name] = handler = _log_handler()
    return handler


def _log_handler():
    import logging

    class Tagged(logging.Formatter):
        def format(self, record):
            told = (record.levelname, record.pool or "-", record.worker or "-", record.request_id or "-", record.name)
            tag = "%s pool=%s worker=%s request=%s %s" % told
            # a message cannot pretend to be a record: its further lines look different
            return tag + ": " + super().format(record).replace("\n", "\n%s| " % tag)

    class LogHandler(logging.Handler):
        """Writes records to standard error, each of their lines behind level, pool, worker, request and logger. With a formatter of the
        application's own, records have `pool`, `worker` and `request_id`, and lines are the formatter's."""

        def __init__(self, level=logging.NOTSET):
            super().__init__(level)
            # one that has a formatter is given none by `logging.basicConfig`
            self.setFormatter(Tagged())

        def emit(self, record):
            try:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
            except Exception:
                self.handleError(record)

        def format(self, record):
            request = current_request()
            record.pool, record.worker, record.request_id = pool, worker, request and request.id
            return super().format(record)

    LogHandler.__module__, LogHandler.__qualname__ = __name__, "LogHandler"
    return LogHandler


# Below is what the adapter calls and looks at.

_callbacks = {"request_started": [], "request_finished": [], "request_exception": [], "process_stopping": []}
_before_retire = []
_before_fork = []
_after_fork = []
# empty as long as nobody wants to be told of requests: then they pay for nothing but a look at it
_watched = []
# What runs, by `threading.get_ident()` of the thread or greenlet, or by its task. A seat is a list: the environ or scope (None: at no request),
# when the application got it (`time.time`), its Request once somebody has asked for it, and, of a watched one, when it began (`monotonic`).
# A thread keeps its seat for its life.
_seats = {}
_told = False


def _own_seat():
    return _seats.get(get_ident())


_seat = _own_seat


def _activate(running, timeout):
    """This process is a worker of this version; `timeout` is what breaks off its requests."""
    global active, version, RequestTimeout
    active, version, RequestTimeout = True, running, timeout


def _use_context():
    """Requests are those of greenlets, or of tasks and what these start: the variable that has the seat."""
    global _seat
    from contextvars import ContextVar

    seat = ContextVar("stockade_seat", default=None)
    _seat = seat.get
    return seat


def _take_seat():
    """This thread's."""
    seat = _seats[get_ident()] = [None, 0.0, None, 0.0]
    return seat


def _request_at(seat):
    """For the thread, greenlet or task whose seat it is."""
    facts, start, request, _ = seat
    if request is None and facts is not None:
        request = seat[2] = Request(facts, start)
    return request


def _running():
    """What runs where: pairs of a key of `_seats` and its Request. For others than the thread whose seat it is: nothing is kept."""
    seats = [(key, *seat[:3]) for key, seat in list(_seats.items())]
    return [(key, request or Request(facts, start)) for key, facts, start, request in seats if facts is not None]


def _begin(seat):
    """A watched request is about to be handed to the application."""
    seat[3] = monotonic()
    # whatever is no Exception (RequestTimeout, SystemExit) is the request's
    _tell("request_started", seat, Exception)


def _raised(seat, error):
    _tell("request_exception", seat, exception=error)


def _end(seat, status):
    """The application is done with a watched request."""
    _tell("request_finished", seat, status=status, duration=monotonic() - seat[3])


def _stopping(reason):
    """The worker is going to end. Told once."""
    global _told
    if not _told:
        _told = True
        _tell("process_stopping", None, reason=reason)


def _run_before_retire():
    hooks = _before_retire[:]
    del _before_retire[:]
    _run(hooks, "before_retire")


def _run_before_fork():
    """In a template, before it forks."""
    _run(_before_fork, "before_fork")


def _run_after_fork():
    """In the worker that a template has forked, once its environment is its own."""
    # of threads there is only this one
    own = _seats.get(get_ident())
    _seats.clear()
    if own is not None:
        _seats[get_ident()] = own
    _read_environment()
    _run(_after_fork, "after_fork")


def _read_environment():
    global pool, worker, generation
    pool = os.environ.get("STOCKADE_POOL")
    worker, generation = _number("STOCKADE_WORKER"), _number("STOCKADE_GENERATION")


def _number(name):
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None


def _seconds(text):
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _callbacks_of(event):
    if event not in _callbacks:
        raise ValueError("stockade has no event %r: subscribe to one of %s" % (event, ", ".join(_callbacks)))
    return _callbacks[event]


def _check(callback):
    """Nobody would wait for what a coroutine function returns (CO_COROUTINE, CO_ASYNC_GENERATOR)."""
    code = getattr(callback, "__code__", None)
    if not callable(callback) or (code is not None and code.co_flags & 0x280):
        raise TypeError("stockade cannot call %r: give it a plain function, which may start a task" % (callback,))


def _add(hooks, hook):
    _check(hook)
    hooks.append(hook)
    return hook


def _tell(name, seat, caught=BaseException, **facts):
    callbacks = tuple(_callbacks[name])
    if not callbacks:
        return
    event = Event(name, seat and _request_at(seat), **facts)
    for callback in callbacks:
        try:
            callback(event)
        except caught as error:
            _report("the callback %s for %s" % (_name(callback), name), error)


def _run(hooks, what):
    for hook in tuple(hooks):
        try:
            hook()
        except BaseException as error:
            _report("the hook %s of %s" % (_name(hook), what), error)


def _name(function):
    name = getattr(function, "__qualname__", None)
    return "%s.%s" % (getattr(function, "__module__", "?"), name) if name else repr(function)


def _report(what, error):
    import traceback

    text = "exception in %s%s\n" % (what, " of pool %s" % pool if pool else "")
    # without this module's frame
    frames = error.__traceback__ and error.__traceback__.tb_next
    text += "".join(traceback.format_exception(type(error), error, frames))
    sys.stderr.write(text)
    sys.stderr.flush()


_read_environment()
