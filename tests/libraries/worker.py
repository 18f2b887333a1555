"""WSGI on flup, by the first argument (`single`, `threads` or `multiplexed`): answers as the query string says; see tests/libraries.rs."""

import sys


def application(environ, start_response):
    query = environ.get("QUERY_STRING", "")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if query == "early":
        return [b"early"]
    if query == "big":
        return (b"b" * 100_000 for _ in range(100))
    if query == "echo":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return [environ["wsgi.input"].read(length)]
    if query == "stderr":
        environ["wsgi.errors"].write("trouble\n")
        environ["wsgi.errors"].flush()
    return [b"hello " + environ["REQUEST_METHOD"].encode()]


def main():
    if sys.argv[1] == "single":
        from flup.server.fcgi_single import WSGIServer

        WSGIServer(application).run()
    else:
        from flup.server.fcgi import WSGIServer

        WSGIServer(application, multiplexed=sys.argv[1] == "multiplexed").run()


main()
