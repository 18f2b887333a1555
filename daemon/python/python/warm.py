"""Answers the pool's `warm-up` by itself, before a client is waited for: what the application does once, at its first requests, is done then."""

import gc
import io

from stockade_python.report import write as report


def warm_up(application, requests):
    """Of a WSGI application. What goes wrong is told, and is not the end of it: whatever it needs may not be there yet."""
    for url, environ in requests:
        environ["wsgi.input"] = io.BytesIO()
        answer = Answer()
        try:
            body = application(environ, answer.start)
            try:
                for _ in body:
                    pass
            finally:
                if hasattr(body, "close"):
                    body.close()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raised(url, error)
        else:
            answered(url, answer.status)


class Answer:
    """What start_response was called with."""

    status = None

    def start(self, status, headers, exc_info=None):
        self.status = status.partition(" ")[0]
        return lambda data: None


class Call:
    """What an ASGI application is called with for a request that nobody sent."""

    def __init__(self):
        # which is not loaded where nobody needs it
        import asyncio

        self.status = None
        self.asked = False
        self.complete = asyncio.Event()

    async def receive(self):
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body", False):
            self.complete.set()


def raised(url, error):
    frames = error.__traceback__
    report("warm-up %s: exception" % url, error, frames.tb_next or frames)


def answered(url, status):
    if status is None:
        report("warm-up %s was not answered" % url, None, None)
    elif not str(status).startswith(("2", "3")):
        hint = ""
        if str(status) == "400" and url.startswith("/"):
            hint = ": if the application serves certain hosts only, write it with one, like http://www.example.org%s" % url
        report("warm-up %s answered %s%s" % (url, status, hint), None, None)


def freeze():
    """What is there now is there for good: the collector looks at it no more, so that its pages stay shared with who is forked."""
    gc.collect()
    gc.freeze()
