"""A WSGI application in one file."""


def application(environ, start_response):
    body = ("Hello from %s\n" % environ["PATH_INFO"]).encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain; charset=latin-1")])
    return [body]
