"""An ASGI application without a framework: the time, once a second, to as many as ask."""

import asyncio
import time


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError("only HTTP is served")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    ticks = 3
    for tick in range(ticks):
        line = time.strftime("%H:%M:%S\n").encode()
        await send({"type": "http.response.body", "body": line, "more_body": tick < ticks - 1})
        if tick < ticks - 1:
            await asyncio.sleep(1)
