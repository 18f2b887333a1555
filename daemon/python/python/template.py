"""What a template does before workers are forked of it (`preload`): what they must not share is closed, or refused with its name."""

import fcntl
import os
import signal
import stat
import sys
import threading

import stockade

from stockade_python.report import write as report

NOT_FORKABLE = 6
REMEDY = (
    "remedy: close it in a function that is given to stockade.before_fork, or open it later: in one given to stockade.after_fork, or when it is"
    " first needed; or set preload = false\n"
)
THREADS_REMEDY = (
    "remedy: end it in a function that is given to stockade.before_fork and start it in one given to stockade.after_fork; or set preload ="
    " false\n"
)
# what has no offset that sharing would confuse
SHARED_MEMORY = ("/dev/shm/", "/memfd:")


def prepare(own):
    """`own`: descriptors of the adapter. Ends the process when something is left that no fork may share."""
    for each in (signal.SIGTERM, signal.SIGINT):
        # a template has nothing to finish
        signal.signal(each, signal.SIG_DFL)
    stockade._run_before_fork()
    close_connections()
    # by its name: eventlet has a module `threading` of its own
    threads = [each.name for each in threading.enumerate() if type(each).__name__ != "_MainThread"]
    if threads:
        refuse("threads that no fork would take along are running: %s\n" % ", ".join(threads) + THREADS_REMEDY)
    shared = left_open(own)
    if shared:
        refuse("open, and every worker would use the same one: %s\n" % "; ".join(shared) + REMEDY)


def close_connections():
    """Django's, which its own import and the warm-up may have opened."""
    database = sys.modules.get("django.db")
    if database is None:
        return
    try:
        database.connections.close_all()
    except Exception as error:
        # one that is imported and not configured has none; what another has is looked for behind this
        if type(error).__name__ != "ImproperlyConfigured":
            report("preload: could not close Django's connections", error, error.__traceback__)


def left_open(own):
    """What is open, and is not to be shared."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number <= 2 or number in own:
            continue
        try:
            what = os.readlink("/proc/self/fd/" + name)
            status = os.fstat(number)
            flags = fcntl.fcntl(number, fcntl.F_GETFL)
        except OSError:
            # the listing's own
            continue
        if what.startswith("/proc/%d/fd" % os.getpid()):
            continue
        reason = unfit(number, what, status.st_mode, flags)
        if reason:
            found.append("descriptor %d, %s" % (number, reason))
    return found


def unfit(number, what, mode, flags):
    if stat.S_ISSOCK(mode):
        return connection(number)
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if what.startswith("anon_inode:"):
        return "of the kind %s" % what[len("anon_inode:") :].strip("[]")
    writable = flags & (os.O_WRONLY | os.O_RDWR) and not flags & os.O_APPEND
    if stat.S_ISREG(mode) and writable and not what.startswith(SHARED_MEMORY):
        return "the file %s, which is written to" % what
    return None


def connection(number):
    """A socket, and with whom."""
    import socket

    try:
        with socket.socket(fileno=os.dup(number)) as each:
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return "a socket that listens on %s" % address(each.getsockname())
            return "a connection to %s" % address(each.getpeername())
    except OSError:
        return "a socket"


def address(name):
    if isinstance(name, tuple):
        return "%s:%s" % name[:2]
    return os.fsdecode(name) or "a socket pair"


def refuse(reason):
    sys.stderr.write("preload: the template cannot be forked: " + reason)
    sys.stderr.flush()
    sys.stdout.flush()
    # nothing that the application wants done at the end of its process
    os._exit(NOT_FORKABLE)
