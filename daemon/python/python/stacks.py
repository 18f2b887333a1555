"""What every thread, task and greenlet is doing, as text: a paragraph each, the innermost call last. It runs in a thread of the adapter that
holds the interpreter's lock meanwhile; so it takes no lock and waits for nothing, and reads no file.
"""

import gc
import sys
import threading
import time

import stockade
from stockade_python.serving import printable

# the longest text, and the most calls of one paragraph
MOST = 192 * 1024
DEEPEST = 100
# calls of the adapter and its start
OURS = ("<stockade ", "<string>")


def text(main, own):
    """`main`, `own`: the main thread, and the one that asks."""
    told = []
    for thread, frame in sys._current_frames().items():
        if thread != own:
            told.append(of_thread(thread, main, frame, stockade._seats))
    # the main thread first
    told.sort(key=lambda paragraph: not paragraph.startswith("thread main"))
    told += tasks() + greenlets()
    return bounded(told)


def bounded(told):
    text = ""
    for number, paragraph in enumerate(told):
        if len(text) + len(paragraph) > MOST:
            return text + "\nand %d more" % (len(told) - number) + "\n"
        text += "\n" + paragraph
    return text


def of_thread(thread, main, frame, seats):
    # what threading.enumerate tells; that takes a lock
    known = getattr(threading, "_active", {}).get(thread)
    name = "main" if thread == main else printable(known.name) if known is not None else "%#x" % thread
    frames = outer(frame)
    request = serves(frames)
    if thread in seats and request is None:
        environ, start = seats[thread][:2]
        if environ is None:
            return "thread %s waits for a request\n" % name
        request = of_environ(environ, max(0, time.time() - start))
    return paragraph("thread " + name, request, frames)


def paragraph(title, request, frames, last=None):
    calls = [(frame.f_code, frame.f_lineno) for frame in frames if not frame.f_code.co_filename.startswith(OURS)]
    if not calls and not request and last is None:
        return title + " is at nothing of the application\n"
    lines = [title + (": " + request if request else "")]
    if len(calls) > DEEPEST:
        lines.append("  and %d calls outside of these" % (len(calls) - DEEPEST))
    for code, line in calls[-DEEPEST:]:
        lines.append('  File "%s", line %s, in %s' % (printable(code.co_filename), line, code.co_name))
    if last is not None:
        lines.append("  " + last)
    return "\n".join(lines) + "\n"


def outer(frame):
    """The frame and those that called it, the innermost last."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    # how a thread of Python's begins says nothing
    while len(frames) > 1 and frames[0].f_code.co_filename == threading.__file__:
        del frames[0]
    return frames


def of_environ(environ, age):
    path = environ.get("PATH_INFO") or environ.get("SCRIPT_NAME") or ""
    path = str(path).encode("latin-1", "replace").decode("utf-8", "replace")
    return named(environ.get("REQUEST_METHOD"), path, environ.get("REQUEST_ID"), age)


def of_scope(request):
    scope = request.scope
    return named(scope["method"], scope["path"], request.name(), time.monotonic() - request.begun)


def named(method, path, request, age):
    name = " (request %s)" % printable(str(request)) if request else ""
    return "%s %s%s, %.1f s" % (printable(str(method)), printable(path), name, age)


def serves(frames):
    """The request that these frames are at, if an event loop or hub serves there; nothing of a thread that has a seat."""
    asgi = sys.modules.get("stockade_python.asgi")
    hub = sys.modules.get("stockade_python.hub")
    for frame in reversed(frames):
        if asgi is not None and frame.f_code is asgi.Worker.answer.__code__:
            return of_scope(frame.f_locals["request"])
        if hub is not None and frame.f_code is hub.Connection.answer.__code__:
            environ = frame.f_locals.get("environ")
            connection = frame.f_locals["self"]
            return environ and of_environ(environ, time.monotonic() - connection.since)
    return None


def tasks():
    asgi = sys.modules.get("stockade_python.asgi")
    if asgi is None or asgi.serving is None or asgi.serving.loop is None:
        return []
    import asyncio

    told = []
    for task in asyncio.all_tasks(asgi.serving.loop):
        frames, runs = suspended(task.get_coro())
        if not any(frame.f_code is asgi.Worker.main.__code__ for frame in frames):
            title = "task " + printable(task.get_name())
            last = "runs in its thread" if runs else waits_for(task)
            told.append((serves(frames) is None, paragraph(title, serves(frames), frames, last)))
    # those that serve first
    return [paragraph for _, paragraph in sorted(told)]


def suspended(waiting):
    """The frames of a coroutine and of those that it waits for; whether it runs at this moment."""
    frames = []
    while waiting is not None and len(frames) < 10000:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            if hasattr(waiting, prefix + "_frame"):
                break
        else:
            break
        if getattr(waiting, prefix + "_running"):
            return frames, True
        frame = getattr(waiting, prefix + "_frame")
        if frame is not None:
            frames.append(frame)
        waiting = getattr(waiting, inner)
    return frames, False


def waits_for(task):
    """What has to be done before it goes on; nothing: it is about to."""
    future = getattr(task, "_fut_waiter", None)
    if future is None:
        return "is about to run"
    name = getattr(future, "get_name", None)
    return "waits for " + ("task " + printable(name()) if name is not None else "a future")


def greenlets():
    module = sys.modules.get("greenlet")
    hub = sys.modules.get("stockade_python.hub")
    if module is None or hub is None:
        return []
    told, idle = [], 0
    for each in gc.get_objects():
        # the type: of a proxy `isinstance` would ask what it stands for
        if not issubclass(type(each), module.greenlet):
            continue
        # none of one that runs, which is its thread's, or has not begun, or has ended
        frame = each.gr_frame
        if frame is None:
            continue
        frames = outer(frame)
        codes = {each.f_code for each in frames}
        if hub.Connection.serve.__code__ in codes and hub.Connection.answer.__code__ not in codes:
            idle += 1
            continue
        shown = [frame for frame in frames if not frame.f_code.co_filename.startswith(OURS)]
        if shown and hub.Worker.accept.__code__ not in codes and hub.Worker.main.__code__ not in codes:
            told.append((serves(frames) is None, paragraph("greenlet", serves(frames), frames)))
    told = [paragraph for _, paragraph in sorted(told)]
    if idle:
        told.append("%d greenlets wait for a request\n" % idle if idle > 1 else "1 greenlet waits for a request\n")
    return told
