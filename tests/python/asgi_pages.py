"""One ASGI application for all tests, a path each; `lifespan` answers for its whole life."""

import asyncio
import os
import sys
import time

TEXT = [(b"content-type", b"text/plain")]
INPUT = os.readlink("/proc/self/fd/0")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    name = scope["path"].strip("/").split("/")[0] or "hello"
    await globals().get("page_" + name, missing)(scope, receive, send)


async def lifespan(scope, receive, send):
    while True:
        event = (await receive())["type"]
        if event == "lifespan.startup":
            if "FAIL_STARTUP" in os.environ:
                await send({"type": "lifespan.startup.failed", "message": "the database is away"})
                return
            scope["state"]["opened"] = os.getpid()
            await send({"type": "lifespan.startup.complete"})
        else:
            print("lifespan: closed", file=sys.stderr, flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def respond(send, body, status=200, headers=TEXT):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def missing(scope, receive, send):
    await respond(send, scope["path"].encode(), 404)


async def page_hello(scope, receive, send):
    await respond(send, b"Hello, " + scope["query_string"] + b"!\n")


async def page_scope(scope, receive, send):
    lines = ["%s=%r" % item for item in sorted(scope.items(), key=str)]
    await respond(send, "\n".join(lines).encode())


async def page_read(scope, receive, send):
    length = wrong = 0
    rest = b""
    block = 0
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        rest += message["body"]
        length += len(message["body"])
        while len(rest) >= 65536 or (rest and not message["more_body"]):
            piece, rest = rest[:65536], rest[65536:]
            wrong += int.from_bytes(piece[:8], "big") != block if len(piece) >= 8 else 0
            block += 1
        if not message["more_body"]:
            break
    await respond(send, b"length %d wrong %d" % (length, wrong))


async def page_stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for block in range(320):
        body = block.to_bytes(8, "big") + bytes(65528)
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def page_dialogue(scope, receive, send):
    """Answers each piece of the body before the next one comes."""
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.body", "body": b"begin\n", "more_body": True})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": more})


async def page_cut(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.body", "body": b"x" * 200000, "more_body": True})
    raise RuntimeError("half way")


async def page_broken(scope, receive, send):
    raise RuntimeError("the application's own words")


async def page_silent(scope, receive, send):
    pass


async def page_short(scope, receive, send):
    await respond(send, b"abc", headers=[(b"content-length", b"10")])


async def page_long(scope, receive, send):
    await respond(send, b"abcdef", headers=[(b"content-length", b"3")])


async def page_twice(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})


async def page_behind(scope, receive, send):
    await respond(send, b"whole")
    await send({"type": "http.response.body", "body": b"more"})


async def page_headers(scope, receive, send):
    pairs = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-latin", b"caf\xe9")]
    await respond(send, b"", headers=TEXT + pairs)


async def page_forged(scope, receive, send):
    await respond(send, b"", headers=[(b"x-one", b"a\r\nx-two: b")])


async def page_empty(scope, receive, send):
    await respond(send, b"", 204, [])


async def page_early(scope, receive, send):
    """Answers without having looked at the body."""
    await respond(send, b"early\n")


async def page_leaving(scope, receive, send):
    """A response without an end: how the client's leaving is noticed."""
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.body", "body": b"begin\n", "more_body": True})
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
    print("leaving: disconnect was told", file=sys.stderr, flush=True)
    try:
        await send({"type": "http.response.body", "body": b"late", "more_body": True})
    except OSError as error:
        print("leaving: send raised", type(error).__name__, file=sys.stderr, flush=True)
        raise


arrived = 0
together = asyncio.Event()


async def page_together(scope, receive, send):
    """Answers when fifty requests are here at once."""
    global arrived
    arrived += 1
    if arrived == 50:
        together.set()
    await together.wait()
    await respond(send, b"together\n")


async def page_hold(scope, receive, send):
    """Holds the loop up for as long as the file is there."""
    path = scope["query_string"].decode()
    print("held up", file=sys.stderr, flush=True)
    while os.path.exists(path):
        time.sleep(0.01)
    await respond(send, b"held\n")


async def page_background(scope, receive, send):
    await respond(send, b"soon\n")
    try:
        await asyncio.sleep(float(scope["query_string"] or b"0.3"))
        print("background: done", file=sys.stderr, flush=True)
    except asyncio.CancelledError:
        print("background: cancelled", file=sys.stderr, flush=True)
        raise


async def page_input(scope, receive, send):
    await respond(send, INPUT.encode())


async def page_loop(scope, receive, send):
    await respond(send, type(asyncio.get_running_loop()).__module__.encode())


async def page_exit(scope, receive, send):
    raise SystemExit(7)


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return []
