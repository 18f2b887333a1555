"""An ASGI application that holds the server to the specification 3.0: the fields of scopes and messages and their types are those of
`asgiref.typing`, the rest is what the specification says in words. The first word of a path names the page."""

import asyncio
import copy
import sys
import types
import typing

import asgiref.typing
from asgiref.wsgi import WsgiToAsgi

TEXT = [(b"content-type", b"text/plain")]
PAGES = {}
scopes = []


def page(function):
    PAGES[function.__name__] = function
    return function


def say(text):
    print(text, file=sys.stderr, flush=True)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    name = scope["path"].strip("/").split("/")[0]
    try:
        await PAGES[name](scope, receive, send)
    except BaseException as error:
        say("%s raised %s: %s" % (name, type(error).__name__, error))
        raise


async def lifespan(scope, receive, send):
    faults = misfits(scope, asgiref.typing.LifespanScope, "lifespan")
    expect(faults, await receive() == {"type": "lifespan.startup"}, "startup comes first")
    scope["state"]["list"] = ["of the lifespan"]
    scope["state"]["name"] = "of the lifespan"
    await send({"type": "lifespan.startup.complete"})
    expect(faults, await receive() == {"type": "lifespan.shutdown"}, "shutdown comes last")
    say("lifespan: %s" % (faults or "conforms"))
    await send({"type": "lifespan.shutdown.complete"})


def misfits(value, hint, where):
    """What of a value is not as its type demands."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (typing.Any, object):
        return []
    if origin is typing.Literal:
        return [] if value in arguments else ["%s is %r" % (where, value)]
    if origin in (typing.Union, types.UnionType):
        return [] if any(not misfits(value, each, where) for each in arguments) else ["%s is %r" % (where, value)]
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint)
        faults = ["%s has no %s" % (where, key) for key in hint.__required_keys__ - value.keys()]
        faults += ["%s has a %s that nobody knows" % (where, key) for key in value.keys() - hints.keys()]
        return faults + [each for key in value.keys() & hints.keys() for each in misfits(value[key], hints[key], where + "." + key)]
    if origin is tuple:
        if not isinstance(value, tuple) or len(value) != len(arguments):
            return ["%s is %r" % (where, value)]
        return [each for item, kind in zip(value, arguments) for each in misfits(item, kind, where)]
    if origin is dict:
        return [] if isinstance(value, dict) else ["%s is %r" % (where, value)]
    if origin is not None:
        return [each for item in value for each in misfits(item, arguments[0], where)]
    return [] if type(value) is hint else ["%s is %r" % (where, value)]


def expect(faults, holds, words):
    if not holds:
        faults.append("not so: " + words)


def scope_faults(scope):
    faults = misfits(scope, asgiref.typing.HTTPScope, "scope")
    expect(faults, scope["asgi"]["version"] == "3.0", "the version is 3.0")
    expect(faults, scope["http_version"] in ("1.0", "1.1", "2"), "the HTTP version is one of three")
    expect(faults, scope["method"] == scope["method"].upper(), "the method is in capitals")
    expect(faults, scope["scheme"] in ("http", "https"), "the scheme is http or https")
    expect(faults, "%" not in scope["path"] and "?" not in scope["path"], "the path is decoded")
    expect(faults, b"?" not in scope["raw_path"], "the raw path has no query")
    expect(faults, scope["path"].startswith(scope["root_path"]), "root_path is how path begins")
    expect(faults, all(name == name.lower() for name, _ in scope["headers"]), "names of headers are in lower case")
    expect(faults, len(scope["headers"]) == len(dict(scope["headers"])), "headers that came once are there once")
    expect(faults, not any(name.startswith(b":") for name, _ in scope["headers"]), "no header is HTTP/2's own")
    expect(faults, scope["state"]["name"] == "of the lifespan", "the state is a copy for this request")
    scope["state"]["name"] = "of a request"
    expect(faults, not scopes or scopes[-1] is not scope, "the scope is of this request alone")
    expect(faults, not scopes or scopes[-1]["state"]["list"] is scope["state"]["list"], "the copy is shallow")
    for key in ("headers", "state", "extensions"):
        expect(faults, not scopes or scopes[-1][key] is not scope[key], key + " is of this request alone")
    scopes[:] = [scope]
    return faults


async def request_faults(receive):
    """Of the messages of a request's body, and the body."""
    faults, body, more = [], b"", True
    while more:
        message = await receive()
        faults += misfits(message, asgiref.typing.HTTPRequestEvent, "message")
        body += message["body"]
        more = message["more_body"]
        expect(faults, message["body"] or not more, "a message that is not the last brings something")
    return faults, body


async def answer(send, text, status=200, headers=TEXT):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


@page
async def scope(scope, receive, send):
    before = copy.copy(scope)
    faults = scope_faults(scope)
    more, body = await request_faults(receive)
    faults += more
    # nothing else comes before the response is complete
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    expect(faults, not waiting.done(), "there is nothing to receive while the client waits")
    expect(faults, scope == before, "nobody else changes the scope")
    await answer(send, "%d: %s" % (len(body), faults or "conforms"))
    message = await waiting
    faults = misfits(message, asgiref.typing.HTTPDisconnectEvent, "message")
    expect(faults, await receive() == message, "disconnect is told as often as it is asked for")
    say("behind the response: %s" % (faults or "conforms"))


@page
async def fields(scope, receive, send):
    await answer(send, "\n".join("%s=%r" % item for item in sorted(scope.items(), key=str)))


@page
async def kinds(scope, receive, send):
    """Headers may be any iterable of pairs, and bodies may be left out."""
    await send({"type": "http.response.start", "status": 201, "headers": (list(pair) for pair in [(b"x-kind", b"iterable")])})
    await send({"type": "http.response.body", "more_body": True})
    await send({"type": "http.response.body", "body": b"kinds", "more_body": True})
    await send({"type": "http.response.body"})


WRONG = {
    "body-first": [{"type": "http.response.body", "body": b""}],
    "unknown": [{"type": "http.response.stop"}],
    "untyped": [{"status": 200}],
    "no-status": [{"type": "http.response.start", "headers": []}],
    "status-text": [{"type": "http.response.start", "status": "200 OK", "headers": []}],
    "status-100": [{"type": "http.response.start", "status": 100, "headers": []}],
    "header-text": [{"type": "http.response.start", "status": 200, "headers": [("x-a", "b")]}],
    "header-triple": [{"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b", b"c")]}],
    "header-name": [{"type": "http.response.start", "status": 200, "headers": [(b"x a", b"b")]}],
    "header-hop": [{"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]}],
    "body-text": [{"type": "http.response.start", "status": 200, "headers": []}, {"type": "http.response.body", "body": "text"}],
    "websocket": [{"type": "websocket.accept"}],
}


@page
async def wrong(scope, receive, send):
    for message in WRONG[scope["query_string"].decode()]:
        await send(message)


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body) + 5))])
    yield b"wsgi "
    yield body


PAGES["wsgi"] = WsgiToAsgi(wsgi)
