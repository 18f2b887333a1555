"""Applications that say on standard error what the module `stockade` tells them: `application` is WSGI, `later` ASGI."""

import asyncio
import logging
import os
import sys
import threading

import stockade

TEXT = [("Content-Type", "text/plain")]
log = logging.getLogger("shop")
log.addHandler(stockade.LogHandler())
log.setLevel(logging.INFO)
barrier = threading.Barrier(2)
kept = []
gathered = []
unwatched = bool(os.environ.get("UNWATCHED"))


def say(*words):
    print("told:", *words, file=sys.stderr, flush=True)


if not unwatched:

    @stockade.on("request_started")
    def started(event):
        say(event.name, event.request.id, event.status, event.request is stockade.current_request())
        event.request.data["seen"] = "started"
        if event.request.path == "/startfails":
            raise KeyError("the callback's own words")

    @stockade.on("request_finished")
    def finished(event):
        assert 0 <= event.duration < 60 and event.request is stockade.current_request()
        say(event.name, event.request.id, event.status, event.request.data["seen"])

    @stockade.on("request_exception")
    def raised(event):
        say(event.name, event.request.id, type(event.exception).__name__)


@stockade.on("process_stopping")
def stopping(event):
    say(event.name, event.reason, threading.get_native_id() == os.getpid())


@stockade.before_retire
def goodbye():
    say("before_retire", stockade.current_request())
    raise RuntimeError("the hook's own words")


@stockade.before_retire
def goodbye_again():
    say("before_retire again")


def described():
    request = stockade.current_request()
    facts = (request.id, request.method, request.path, request.start > 1.6e9, request.data)
    return repr(facts)


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/") or "hello"
    body = globals().get("page_" + name, page_hello)(environ)
    start_response("201 Created", TEXT)
    return [str(body).encode()]


def page_hello(environ):
    if environ["QUERY_STRING"] == "body":
        say("reading")
        environ["wsgi.input"].read()
    return described()


def page_worker(environ):
    return repr((stockade.active, stockade.pool, stockade.worker, stockade.generation, stockade.version, "logging" in sys.modules))


def page_raise(environ):
    raise ValueError("the application's own words")


def page_startfails(environ):
    return "served"


def page_exit(environ):
    sys.exit(7)


def page_stuck(environ):
    say("stuck")
    while True:
        pass


def page_pair(environ):
    """Two at a time: each has its own."""
    barrier.wait(20)
    here = stockade.current_request().id
    running = sorted(request.id for _, request in stockade._running())
    barrier.wait(20)
    elsewhere = []
    other = threading.Thread(target=lambda: elsewhere.append(stockade.current_request()))
    other.start()
    other.join()
    return "%s %s %s" % (here, elsewhere, running)


def page_read(environ):
    return environ["wsgi.input"].read()


def page_keep(environ):
    kept.append(stockade.current_request())
    kept[-1].data["kept"] = True
    return ""


def page_kept(environ):
    before = kept.pop()
    return repr((before.id, before.data, before is stockade.current_request(), stockade.current_request().data))


def page_held(environ):
    """Until the file is there."""
    say("held")
    while not os.path.exists(environ["QUERY_STRING"]):
        pass
    return "held"


def page_queue(environ):
    return "%.6f" % stockade.current_request().queue_time


def page_log(environ):
    log.warning("one\ntwo")
    try:
        raise ValueError("inner")
    except ValueError:
        log.exception("failed")
    return ""


async def later(scope, receive, send):
    assert scope["type"] == "http"
    name = scope["path"].strip("/")
    if name == "raise":
        raise ValueError("the application's own words")
    if name == "held":
        say("held")
        while not os.path.exists(scope["query_string"]):
            await asyncio.sleep(0.01)
    if name == "pair":
        gathered.append(stockade.current_request().id)
        while len(gathered) < 2:
            await asyncio.sleep(0.01)
    if name == "log":
        log.warning("one\ntwo")

    async def child():
        return described()

    # in the task, in one that it starts, and in a thread that works for it
    inner = await asyncio.ensure_future(child())
    threaded = await asyncio.to_thread(described)
    body = "%s %s" % (described(), described() == inner == threaded)
    if name == "queue":
        body = "%.6f" % stockade.current_request().queue_time
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body.encode()})
