"""What Starlette, FastAPI and Django's ASGI handler do beyond a page: uploads, tasks behind a response, clients that leave."""

import asyncio
import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


async def endless(name):
    try:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)
    finally:
        say("stream of %s: over" % name)


# Starlette
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route


async def task(name):
    await asyncio.sleep(0.05)
    say("task of %s: done" % name)


async def star_task(request):
    return PlainTextResponse("first", background=BackgroundTask(task, "starlette"))


async def star_upload(request):
    async with request.form() as form:
        file = form["file"]
        return PlainTextResponse("%s %s %d" % (form["title"], file.filename, len(await file.read())))


async def star_stream(request):
    return StreamingResponse(endless("starlette"))


async def star_pieces(request):
    pieces = [len(piece) async for piece in request.stream()]
    return JSONResponse(sum(pieces))


async def star_file(request):
    return FileResponse(__file__)


async def star_url(request):
    return JSONResponse([str(request.url), request.client.host if request.client else None, dict(request.cookies)])


star_app = Starlette(
    routes=[
        Mount(
            "/below",
            routes=[
                Route("/task", star_task),
                Route("/upload", star_upload, methods=["POST"]),
                Route("/stream", star_stream),
                Route("/pieces", star_pieces, methods=["POST"]),
                Route("/file", star_file),
                Route("/url", star_url),
            ],
        )
    ],
    middleware=[Middleware(GZipMiddleware)],
)

# FastAPI
from fastapi import BackgroundTasks, Depends, FastAPI, UploadFile
from pydantic import BaseModel

fast_app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


async def resource():
    say("resource: opened")
    try:
        yield "resource"
    finally:
        say("resource: closed")


@fast_app.post("/below/item")
async def fast_item(item: Item, given: str = Depends(resource)):
    return {"name": item.name, "twice": 2 * item.price, "given": given}


@fast_app.post("/below/upload")
async def fast_upload(file: UploadFile, tasks: BackgroundTasks):
    tasks.add_task(task, "fastapi")
    return "%s %d" % (file.filename, len(await file.read()))


@fast_app.get("/below/blocking")
def fast_blocking():
    """Runs in a thread."""
    import threading

    return threading.current_thread() is threading.main_thread()


# Django
import django
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.http import FileResponse as DjangoFile
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="frameworks_asgi", SECRET_KEY="x", DEBUG=False, MIDDLEWARE=[])
django.setup()
request_started.connect(lambda **_: say("django: started"), weak=False)
request_finished.connect(lambda **_: say("django: finished"), weak=False)


async def django_wait(request):
    say("django: waits")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        say("django: cancelled")
        raise


async def django_stream(request):
    return StreamingHttpResponse(endless("django"))


def django_upload(request):
    file = request.FILES["file"]
    return HttpResponse("%s %s %d" % (request.POST["title"], file.name, file.size))


def django_file(request):
    return DjangoFile(open(__file__, "rb"))


def django_where(request):
    return HttpResponse("%s %s %s" % (request.build_absolute_uri(), request.is_secure(), request.META["SCRIPT_NAME"]))


urlpatterns = [
    path("below/wait", django_wait),
    path("below/stream", django_stream),
    path("below/upload", csrf_exempt(django_upload)),
    path("below/file", django_file),
    path("below/where", django_where),
]

from django.core.asgi import get_asgi_application

django_app = get_asgi_application()
