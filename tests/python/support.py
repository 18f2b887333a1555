"""A worker started as the launcher starts it, and a FastCGI client written by hand."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ADAPTER = os.environ.get("STOCKADE_ADAPTER", "")
PYTHON = os.environ.get("STOCKADE_PYTHON", sys.executable)
with open(os.path.join(ROOT, "daemon/src/launch/bootstrap.py")) as source:
    BOOTSTRAP = source.read()
DEADLINE = 20

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES = range(1, 11)
REQUEST_COMPLETE, CANT_MPX, OVERLOADED, UNKNOWN_ROLE = range(4)


def eventually(condition, what="a condition"):
    """Waits until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("%s did not come" % what)
        select.select([], [], [], 0.005)


class Worker:
    """One worker; standard error goes to a file."""

    def __init__(self, target, threads=1, python_path=(), home=HERE, control=True, python=PYTHON, more=None, mount="", user=None,
                 interrupts=False, deadlock=None):
        assert ADAPTER, "STOCKADE_ADAPTER must name the extension"
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(64)
        self.log = open(os.path.join(self.folder.name, "log"), "w+b")
        adapter = os.open(ADAPTER, os.O_RDONLY)
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "STOCKADE_POOL": "test",
            "STOCKADE_WORKER": "1",
            "STOCKADE_GENERATION": "1",
            "STOCKADE_ADAPTER_FD": str(adapter),
        }
        # an interpreter that was moved finds its library by it
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        environment.update(more or {})
        passed = [adapter]
        self.control = None
        if control:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.control.settimeout(DEADLINE)
            theirs.setblocking(False)
            environment["STOCKADE_CONTROL_FD"] = str(theirs.fileno())
            passed.append(theirs.fileno())
        self.beats = None
        if deadlock:
            self.beats = os.memfd_create("heartbeat")
            os.ftruncate(self.beats, 8)
            environment["STOCKADE_HEARTBEAT_FD"] = str(self.beats)
            passed.append(self.beats)
        words = ["wsgi=" + target, "threads=%d" % threads]
        words += ["mount=" + mount] if mount else []
        words += ["interrupt-timeout=1000"] if interrupts else []
        words += ["deadlock-timeout=%d" % deadlock] if deadlock else []
        words += ["python-path=" + entry for entry in python_path]
        self.process = subprocess.Popen(
            [python, "-c", BOOTSTRAP] + words,
            stdin=listener,
            stdout=self.log,
            stderr=self.log,
            cwd=home,
            env=environment,
            pass_fds=passed,
            start_new_session=True,
            user=user,
        )
        os.close(adapter)
        listener.close()
        if control:
            theirs.close()

    def ready(self):
        message = self.control.recv(64)
        assert message == struct.pack("=HHIQ", 1, 1, 0, 0), (message, self.errors())
        return self

    def interrupt(self):
        self.control.send(struct.pack("=HHIQ", 1, 2, 0, 0))

    def retire(self, cause=0):
        self.control.send(struct.pack("=HHIQ", 1, 1, 0, cause))

    def beat(self):
        return os.pread(self.beats, 8, 0)

    def connect(self):
        return Connection(self.path)

    def request(self, *args, **keywords):
        with self.connect() as connection:
            return connection.request(*args, keep=False, **keywords)

    def errors(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def resident_kib(self, line="VmRSS"):
        with open("/proc/%d/status" % self.process.pid) as status:
            return next(int(entry.split()[1]) for entry in status if entry.startswith(line))

    def cpu_seconds(self):
        """In the process itself, and in the kernel for it."""
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields[11:13]]

    def terminate(self, signal_number=signal.SIGTERM):
        self.process.send_signal(signal_number)

    def wait(self):
        return self.process.wait(DEADLINE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.control:
            self.control.close()
        if self.beats is not None:
            os.close(self.beats)
        self.log.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Cut(Exception):
    """The connection ended before END_REQUEST."""


class Response:
    def __init__(self, stdout):
        head, _, self.body = stdout.partition(b"\r\n\r\n")
        self.lines = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")]
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in self.lines}
        self.status = self.headers.pop("status", "")


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.inbox = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *records):
        self.socket.sendall(b"".join(records))

    def abandon(self):
        """As the relay does when a request's time is over."""
        self.socket.shutdown(socket.SHUT_WR)

    def record(self):
        """The next record: kind, id, content."""
        while True:
            if len(self.inbox) >= 8:
                _, kind, request, length, padding = struct.unpack_from(">BBHHB", self.inbox)
                size = 8 + length + padding
                if len(self.inbox) >= size:
                    content = bytes(self.inbox[8 : 8 + length])
                    del self.inbox[:size]
                    return kind, request, content
            piece = self.socket.recv(1 << 18)
            if not piece:
                raise Cut(bytes(self.inbox))
            self.inbox += piece

    def response(self):
        stdout = bytearray()
        while True:
            try:
                kind, _, content = self.record()
            except (Cut, ConnectionError) as cut:
                raise Cut(bytes(stdout)) from cut
            if kind == STDOUT:
                stdout += content
            elif kind == END:
                self.end = struct.unpack(">IB3x", content)
                return Response(bytes(stdout))

    def request(self, path="/", body=b"", keep=True, **parameters):
        self.send(request(path, body, keep, **parameters))
        return self.response()

    def at_end(self):
        """Whether the peer closed, and sent nothing more."""
        try:
            return not self.inbox and self.socket.recv(1) == b""
        except ConnectionResetError:
            return False


def record(kind, content=b"", request=1):
    return struct.pack(">BBHHBx", 1, kind, request, len(content), 0) + content


def begin(keep=True, role=1, request=1):
    return record(BEGIN, struct.pack(">HB5x", role, keep), request)


def stream(kind, content, request=1):
    pieces = [content[at : at + 32768] for at in range(0, len(content), 32768)]
    return b"".join(record(kind, piece, request) for piece in pieces) + record(kind, b"", request)


def pairs(parameters):
    out = bytearray()
    for name, value in parameters.items():
        if value is None:
            continue
        for text in (name, value):
            size = len(text)
            out += bytes([size]) if size < 128 else struct.pack(">I", size | 0x80000000)
        out += name.encode("latin-1") + (value if isinstance(value, bytes) else value.encode("latin-1"))
    return bytes(out)


def head(path="/", length=None, keep=True, request=1, **parameters):
    """Everything before the body."""
    everything = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "" if length is None else str(length),
        "REQUEST_URI": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "REQUEST_ID": "r-17",
    }
    everything.update(parameters)
    return begin(keep, request=request) + stream(PARAMS, pairs(everything), request)


def request(path="/", body=b"", keep=True, request=1, **parameters):
    length = len(body) if body else None
    return head(path, length, keep, request, **parameters) + stream(STDIN, body, request)


class WorkerTest(unittest.TestCase):
    """Tests that share one worker for a class; `target` names its application."""

    target = ""
    threads = 1

    @classmethod
    def setUpClass(cls):
        cls.worker = Worker(cls.target, cls.threads).ready()
        cls.addClassCleanup(cls.worker.close)

    def ask(self, path, **keywords):
        return self.worker.request(path, **keywords)

    def assertLogged(self, text):
        eventually(lambda: text in self.worker.errors(), "%r in the log" % text)
