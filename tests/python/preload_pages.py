"""An application that tells where it was loaded and who answers."""

import os
import random
import sys

LOADED = os.getpid()
WARMED = []
VERSION = 1


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/warm"):
        WARMED.append("%s@%s" % (path, environ["HTTP_HOST"]))
    if path == "/warm-raises":
        raise RuntimeError("not now")
    if path == "/exit":
        os._exit(3)
    if path == "/warm-nobody":
        start_response("400 Bad Request", [])
        return [b""]
    if path == "/print":
        print("printed by", os.environ["STOCKADE_WORKER"], flush=True)
    facts = {
        "pid": os.getpid(),
        "loaded": LOADED,
        "warmed": ",".join(WARMED),
        "random": random.random(),
        "worker": os.environ["STOCKADE_WORKER"],
        "session": os.getsid(0),
        "parent": os.getppid(),
        "input": os.readlink("/proc/self/fd/0"),
        "version": VERSION,
        "sockets": sum(os.readlink("/proc/self/fd/" + fd).startswith("socket:") for fd in os.listdir("/proc/self/fd")[:-1]),
    }
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["".join("%s %s\n" % fact for fact in facts.items()).encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["path"].startswith("/warm"):
        WARMED.append("%s@%s" % (scope["path"], dict(scope["headers"])[b"host"].decode()))
    facts = {"pid": os.getpid(), "loaded": LOADED, "warmed": ",".join(WARMED), "loop": "asyncio" in sys.modules}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": "".join("%s %s\n" % fact for fact in facts.items()).encode()})
