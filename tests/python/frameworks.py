"""The same four pages in Starlette, FastAPI, Quart and Django, as their tutorials begin."""

import sys
from contextlib import asynccontextmanager

BLOCKS = [b"x" * 50_000] * 4


def say(text):
    print(text, file=sys.stderr, flush=True)


async def blocks():
    for block in BLOCKS:
        yield block


# Starlette
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app):
    say("lifespan of starlette: opened")
    yield {"name": "Hello"}
    say("lifespan of starlette: closed")


async def star_hello(request):
    words = request.state.name, request.path_params["name"], request.query_params["x"]
    return PlainTextResponse(" ".join(words))


async def star_length(request):
    return PlainTextResponse(str(len(await request.body())))


async def star_stream(request):
    return StreamingResponse(blocks())


async def star_error(request):
    raise RuntimeError("of starlette")


star_app = Starlette(
    routes=[
        Route("/hello/{name}", star_hello),
        Route("/length", star_length, methods=["POST"]),
        Route("/stream", star_stream),
        Route("/error", star_error),
    ],
    lifespan=lifespan,
)

# FastAPI
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse as FastText

fast_app = FastAPI()


@fast_app.get("/hello/{name}", response_class=FastText)
async def fast_hello(name: str, x: int):
    return "Hello %s %d" % (name, x)


@fast_app.post("/length", response_class=FastText)
async def fast_length(request: Request):
    return str(len(await request.body()))


@fast_app.get("/stream")
def fast_stream():
    return StreamingResponse(iter(BLOCKS))


@fast_app.get("/error")
def fast_error():
    raise RuntimeError("of fastapi")


# Quart
from quart import Quart, request as quart_request

quart_app = Quart("frameworks")


@quart_app.get("/hello/<name>")
async def quart_hello(name):
    return "Hello %s %s" % (name, quart_request.args["x"])


@quart_app.post("/length")
async def quart_length():
    return str(len(await quart_request.get_data()))


@quart_app.get("/stream")
async def quart_stream():
    return blocks()


@quart_app.get("/error")
async def quart_error():
    raise RuntimeError("of quart")


# Django
import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="frameworks", SECRET_KEY="x", DEBUG=False)
django.setup()


async def django_hello(request, name):
    return HttpResponse("Hello %s %s" % (name, request.GET["x"]), content_type="text/plain")


def django_length(request):
    return HttpResponse(str(len(request.body)))


async def django_stream(request):
    return StreamingHttpResponse(blocks())


def django_error(request):
    raise RuntimeError("of django")


urlpatterns = [
    path("hello/<name>", django_hello),
    path("length", django_length),
    path("stream", django_stream),
    path("error", django_error),
]

from django.core.asgi import get_asgi_application

django_app = get_asgi_application()
