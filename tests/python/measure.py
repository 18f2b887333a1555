"""Measures the worker's CPU time for a small request on a kept connection. Not a test: python3 tests/python/measure.py [requests]."""

import sys

from support import Worker, request

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
# what nginx sends for a browser's request
PARAMETERS = {
    "SCRIPT_FILENAME": "/usr/share/nginx/html/hello",
    "DOCUMENT_URI": "/hello",
    "DOCUMENT_ROOT": "/usr/share/nginx/html",
    "REQUEST_SCHEME": "http",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_SOFTWARE": "nginx/1.22.1",
    "REMOTE_PORT": "41234",
    "SERVER_ADDR": "192.0.2.7",
    "REDIRECT_STATUS": "200",
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_CONNECTION": "keep-alive",
}


def main():
    with Worker("apps:app_hello").ready() as worker, worker.connect() as connection:
        messages = [request("/hello", REQUEST_ID="%032x" % number, **PARAMETERS) for number in range(100)]
        connection.send(messages[0])
        size = len(connection.socket.recv(65536))
        before = worker.cpu_seconds()
        for number in range(COUNT):
            connection.socket.send(messages[number % 100])
            received = 0
            while received < size:
                received += len(connection.socket.recv(65536))
        used = [(now - then) / COUNT * 1e6 for now, then in zip(worker.cpu_seconds(), before)]
        worker.terminate()
        worker.wait()
    print("%d requests: %.2f us of the worker's CPU each, %.2f of it in the kernel" % (COUNT, sum(used), used[1]))


if __name__ == "__main__":
    main()
