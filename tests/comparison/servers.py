"""The servers that are compared, each behind an nginx of its own, with the same application.

What they are told is what their documentation offers for the purpose; `command` is what was run, for the reader to repeat.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUNICORN = os.environ.get("GUNICORN", "gunicorn")
GRANIAN = os.environ.get("GRANIAN", "granian")
UWSGI = os.environ.get("UWSGI", "uwsgi")
PHP_FPM = os.environ.get("PHP_FPM", "php-fpm8.2")
STOCKADE = os.environ.get("STOCKADE", str(ROOT / "target/release/stockade"))
NGINX = os.environ.get("NGINX", "/usr/sbin/nginx")
# who workers become when this is run by root
USER = "www-data"

# What the application does at its import is in a file beside it, so that it can be changed before a reload.
APPLICATION = """
import os, signal, threading, time
HERE = os.path.dirname(os.path.abspath(__file__))
exec(open(HERE + "/at_import").read())
VERSION = open(HERE + "/version").read()
LOCK = threading.Lock()


def application(environ, start_response):
    words = dict(word.split("=") for word in environ["QUERY_STRING"].split("&") if word)
    if "sleep" in words:
        time.sleep(float(words["sleep"]))
    if "lock" in words:
        LOCK.acquire()
        LOCK.acquire()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {VERSION}".encode()]
"""

# a signal ends usleep
PHP = """<?php
$end = microtime(true) + ($_GET['sleep'] ?? 0);
while (microtime(true) < $end) { usleep(1000); }
echo getmypid(), ' 1';
"""


class Server:
    """One, running. Its folder has the application, its configuration and its log."""

    name = ""
    program = ""
    # nginx: how to reach the socket
    location = ""
    # nginx keeps its connections
    keeps = False

    def __init__(self, at_import="", **options):
        self.folder = Path(tempfile.mkdtemp(prefix="comparison-"))
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            # uWSGI binds as its user
            shutil.chown(self.folder, USER)
        self.socket = self.folder / "server.sock"
        self.log = self.folder / "log"
        (self.folder / "app.py").write_text(APPLICATION)
        (self.folder / "app.php").write_text(PHP)
        self.deploy(1, at_import)
        self.options = {"processes": 2, "threads": 1, "timeout": 30, "startup": 30, "more": []} | options
        self.command = [str(word) for word in self.words()]
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log.open("ab"), stderr=subprocess.STDOUT
        )
        self.nginx = self.start_nginx()
        self.started = time.monotonic()

    def words(self):
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def deploy(self, version, at_import=""):
        """Another version of the application, for whoever imports it next."""
        (self.folder / "version").write_text(str(version))
        (self.folder / "at_import").write_text(at_import)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def workers(self):
        """The processes that run the application."""
        return children(self.process.pid)

    def running(self):
        return self.process.poll() is None

    def wait_ready(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.get()[0] == 200:
                return self
            time.sleep(0.05)
        log = self.log.read_text()
        self.close()
        raise SystemExit(f"{self.name} does not answer:\n{log}")

    def get(self, query="", timeout=60):
        """Status (0: nothing came), body, seconds."""
        start = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/app.php?{query}", timeout=timeout) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.headers.get("Stockade-Cause") or ""
        except (OSError, http.client.HTTPException):
            status, body = 0, ""
        return status, body, time.monotonic() - start

    def start_nginx(self):
        self.port = free_port()
        keepalive = "keepalive 64;" if self.keeps else ""
        user = f"user {USER};" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            f"""{user} daemon off; worker_processes 1; pid nginx.pid; error_log {self.folder}/nginx.log warn;
            events {{ worker_connections 1024; }}
            http {{
                access_log off;
                {"".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))}
                upstream server {{ server unix:{self.socket}; {keepalive} }}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    root {self.folder};
                    location / {{ {self.location} }}
                }}
            }}"""
        )
        nginx = subprocess.Popen([NGINX, "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", self.folder / "nginx.log"])
        while http_port_closed(self.port):
            time.sleep(0.02)
        return nginx

    def close(self):
        for process in (self.process, self.nginx):
            family = descendants(process.pid) + [process.pid]
            for pid in reversed(family):
                kill(pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stockade(Server):
    name = "Stockade"
    program = STOCKADE
    keeps = True

    @property
    def location(self):
        parameters = (ROOT / "conf/nginx/stockade_params").read_text()
        return parameters + "fastcgi_pass server;"

    def words(self):
        option = self.options
        root = os.geteuid() == 0
        (self.folder / "stockade.toml").write_text(
            "[daemon]\n"
            f'runtime-dir = "{self.folder}/run"\n'
            "[pool.app]\n"
            f'listen = ["unix:{self.socket}"]\n'
            f'socket-mode = "0666"\nhome = "{self.folder}"\nwsgi = "app:application"\n'
            f'processes = {option["processes"]}\nthreads = {option["threads"]}\n'
            f'request-timeout = "{option["timeout"]}s"\nstartup-timeout = "{option["startup"]}s"\n'
            + (f'user = "{USER}"\n' if root else "")
            + "".join(f"{line}\n" for line in option["more"])
        )
        return [STOCKADE, "serve", "-c", self.folder / "stockade.toml"]

    def version(self):
        return "Stockade " + output([STOCKADE, "--version"]).split()[-1]

    def workers(self):
        return [pid for pid in children(self.process.pid) if b"stockade\0relay" not in command_line(pid)]


class Gunicorn(Server):
    name = "gunicorn"
    program = GUNICORN
    location = "proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_read_timeout 220s; proxy_next_upstream off;"

    def words(self):
        option = self.options
        kind = [] if option["threads"] == 1 else ["--worker-class", "gthread", "--threads", option["threads"]]
        user = ["--user", USER, "--group", USER] if os.geteuid() == 0 else []
        return [GUNICORN, "--bind", f"unix:{self.socket}", "--umask", "0", "--workers", option["processes"], *kind,
                "--timeout", option["timeout"], *user, *option["more"], "app:application"]

    def version(self):
        return "gunicorn " + re.search(r"[0-9.]+", output([GUNICORN, "--version"]))[0]


class Uwsgi(Server):
    name = "uWSGI"
    program = UWSGI
    location = "include /etc/nginx/uwsgi_params; uwsgi_pass server; uwsgi_read_timeout 220s; uwsgi_next_upstream off;"

    def words(self):
        option = self.options
        threads = [] if option["threads"] == 1 else ["--threads", option["threads"]]
        user = ["--uid", USER, "--gid", USER] if os.geteuid() == 0 else []
        return [UWSGI, "--plugin", "python3", "--socket", self.socket, "--chmod-socket=666", "--master", "--die-on-term",
                "--lazy-apps", "--processes", option["processes"], *threads, "--harakiri", option["timeout"], *user,
                "--master-fifo", self.folder / "fifo", *option["more"], "--wsgi-file", "app.py"]

    def terminate(self):
        # TERM is its quick end; this is the other one
        self.say("q")

    def say(self, word):
        with (self.folder / "fifo").open("w") as fifo:
            fifo.write(word)

    def version(self):
        return "uWSGI " + output([UWSGI, "--version"]).split("-")[0]


class UwsgiChain(Uwsgi):
    """Reloaded one worker after the other, the next one when the last one accepts."""

    name = "uWSGI, chain reload"

    def reload(self):
        self.say("c")

    def version(self):
        return super().version() + ", chain reload"


class Granian(Server):
    name = "Granian"
    program = GRANIAN
    location = Gunicorn.location

    def words(self):
        option = self.options
        return [GRANIAN, "--interface", "wsgi", "--uds", self.socket, "--uds-permissions", "0666", "--workers",
                option["processes"], "--blocking-threads", option["threads"], "--respawn-failed-workers",
                *option["more"], "app:application"]

    def workers(self):
        # the other one is of Python's multiprocessing
        return [pid for pid in super().workers() if b"resource_tracker" not in command_line(pid)]

    def version(self):
        return "Granian " + output([GRANIAN, "--version"]).split()[-1]


class PhpFpm(Server):
    name = "php-fpm"
    program = PHP_FPM

    @property
    def location(self):
        return Stockade.location.fget(self).replace("fastcgi_keep_conn on;", "")

    def words(self):
        option = self.options
        more = [line.split("=", 1) for line in option["more"]]
        own = {"pm": "static", "pm.max_children": option["processes"], "request_terminate_timeout": option["timeout"]}
        own |= {key.strip(): value.strip() for key, value in more if not key.startswith("global ")}
        whole = [f"{key[7:]}={value}" for key, value in more if key.startswith("global ")]
        user = f"user={USER}\ngroup={USER}\n" if os.geteuid() == 0 else ""
        (self.folder / "fpm.conf").write_text(
            "\n".join(["[global]", "error_log=/dev/stderr", "daemonize=no", *whole, "[app]", f"listen={self.socket}",
                       "listen.mode=0666", user, *(f"{key}={value}" for key, value in own.items())]) + "\n"
        )
        return [PHP_FPM, "--fpm-config", self.folder / "fpm.conf"]

    def reload(self):
        self.process.send_signal(signal.SIGUSR2)

    def terminate(self):
        # TERM is its quick end, by its documentation
        self.process.send_signal(signal.SIGQUIT)

    def version(self):
        return "php-fpm " + output([PHP_FPM, "-v"]).split()[1]


def present(*kinds):
    """Those that are installed. Stockade has to be."""
    return [kind for kind in kinds if kind is Stockade or shutil.which(kind.program)]


def output(words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True).stdout.strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_port_closed(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def children(parent):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[1] == str(parent) and fields[0] not in "ZX":
                found.append(int(entry.name))
    return sorted(found)


def descendants(parent):
    found = children(parent)
    for child in found:
        found.extend(children(child))
    return found


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit("this is read by `run` and `under-load`")
