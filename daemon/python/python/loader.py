"""Finds the application that a pool names: `module:callable`, or a script's path with `:callable` or not.

What goes wrong is told in one write on standard error; the exit status is IMPORT_FAILED or NO_CALLABLE.
"""

import difflib
import importlib
import importlib.util
import os
import pkgutil
import site
import sys
import traceback
from importlib.machinery import SourceFileLoader
from types import FunctionType, MethodType

DEFAULT_CALLABLE = "application"
IMPORT_FAILED = 3
NO_CALLABLE = 4
CO_VARARGS = 0x04
CO_COROUTINE = 0x80
OWN_REMEDY = (
    "remedy: correct the name, or name the folder it is in (python-path or home in the pool; `stockade run` looks in the"
    " current folder: cd there)\n"
)


def load(target, python_path, owner=(None, None), asgi=False):
    sys.argv[:] = ["stockade"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    location, name = split(target)
    # blog.wsgi may be a module's name
    script = "/" in location or location.endswith((".py", ".wsgi")) and os.path.isfile(location)
    if script:
        location = os.path.abspath(location)
    extend_path(python_path, os.path.dirname(location) if script else None)
    try:
        module = import_script(location, target, owner) if script else import_module(location, target)
    except ForeignScript as error:
        sys.stderr.write("%s: every request is answered 403\n" % error)
        return refuse_asgi if asgi else refuse
    return find_callable(module, location, name, target, asgi)


def split(target):
    """A path may have colons: only a name behind the last one is the callable."""
    location, colon, name = target.rpartition(":")
    if colon and location and "/" not in name:
        return location, name or DEFAULT_CALLABLE
    return target, DEFAULT_CALLABLE


def extend_path(python_path, script_folder):
    """Home, the script's folder, python-path (as site folders: .pth files count), then Python's own."""
    before = list(sys.path)
    for entry in python_path:
        site.addsitedir(os.path.abspath(entry))
    added = [entry for entry in sys.path if entry not in before]
    wanted = [os.path.abspath(entry) for entry in python_path]
    # an entry that Python had already comes to the front too
    first = [os.getcwd(), script_folder] + wanted + added
    ordered = dict.fromkeys(entry for entry in first + before if entry)
    sys.path[:] = ordered


def import_module(name, target):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            missing = "there is no module %s%s" % (error.name, meant(error.name))
            fail(IMPORT_FAILED, target, missing, where() + OWN_REMEDY)
        fail_import(error, target)
    except BaseException as error:
        fail_import(error, target)


def import_script(path, target, owner):
    try:
        with open(path, "rb") as file:
            first = file.read(128).partition(b"\n")[0]
    except FileNotFoundError:
        fail(IMPORT_FAILED, target, "there is no file %s" % path)
    except OSError as error:
        fail(IMPORT_FAILED, target, "could not read %s: %s" % (path, error.strerror), denied(error))
    named_as_python = path.endswith((".py", ".wsgi"))
    if first.startswith(b"\x7fELF") or first.startswith(b"#!") and b"python" not in first and not named_as_python:
        remedy = "remedy: a FastCGI program is run with `command` in the pool, or with `stockade run --command -- %s`\n"
        fail(IMPORT_FAILED, target, "it is a program, not Python source", remedy % path)
    name, extension = os.path.splitext(os.path.basename(path))
    if not name.isidentifier() or name in sys.modules or extension != ".py":
        name = "stockade_script_" + "".join(c if c.isalnum() else "_" for c in name)
    spec = importlib.util.spec_from_file_location(name, path, loader=ScriptLoader(name, path, owner))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ForeignScript:
        raise
    except BaseException as error:
        fail_import(error, target)
    return module


class ScriptLoader(SourceFileLoader):
    """Without a cache: app.wsgi would share its file with app.py. What is run is what was read from a file of the right owner."""

    def __init__(self, name, path, owner):
        super().__init__(name, path)
        self.owner = owner

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)

    def get_data(self, path):
        if path != self.path:
            return super().get_data(path)
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            for key, wanted, found in zip(
                ("script-user", "script-group"), self.owner, (status.st_uid, status.st_gid)
            ):
                if wanted is not None and wanted != found:
                    raise ForeignScript("%s belongs to %d, and %s is %d" % (path, found, key, wanted))
            return file.read()


class ForeignScript(Exception):
    """The application's file is not of the account that it has to be of."""


def refuse(environ, start_response):
    """In place of an application whose file is somebody else's."""
    start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Stockade-Cause", "script-owner")])
    return [b"Forbidden\n"]


async def refuse_asgi(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"stockade-cause", b"script-owner")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": b"Forbidden\n"})


def find_callable(module, location, name, target, asgi):
    script = os.path.isabs(location)
    found, holder = module, os.path.basename(location) if script else location
    made = name.endswith("()")
    for part in name.removesuffix("()").split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            close = difflib.get_close_matches(part, dir(found), 1)
            hint = "; did you mean %s?" % close[0] if close else others(module, location, asgi)
            fail(NO_CALLABLE, target, "%s has no %s%s" % (holder, part, hint))
        holder = part
    if made and callable(found):
        found = make(found, name, target)
    if not callable(found):
        kind = type(found).__name__
        fail(NO_CALLABLE, target, "%s is not callable: it is of type %s%s" % (name, kind, others(module, location, asgi)))
    if takes_too_few(found, asgi):
        reason = "%s takes no %s: if it makes the application, write `%s:%s()`"
        fail(NO_CALLABLE, target, reason % (name, "(scope, receive, send)" if asgi else "(environ, start_response)", location, name))
    if is_async(found) and not asgi:
        reason = "%s is asynchronous, as ASGI applications are: name it with `asgi` instead of `wsgi`%s"
        fail(NO_CALLABLE, target, reason % (name, " (`stockade run --asgi`)"))
    if asgi and not is_async(found) and takes(found, 2) and not takes(found, 3):
        reason = "%s takes (environ, start_response), as WSGI applications do: name it with `wsgi` instead of `asgi`%s"
        fail(NO_CALLABLE, target, reason % (name, " (`stockade run` without --asgi)"))
    return found


def make(factory, name, target):
    """The application that a function makes."""
    try:
        return factory()
    except BaseException as error:
        fail(IMPORT_FAILED, target, "%s failed" % name, cut(error))


def takes_too_few(found, asgi):
    """A function that cannot be called as an application, like one that makes it. Not asked of `inspect` either."""
    if not isinstance(found, FunctionType) or found.__code__.co_flags & CO_VARARGS:
        return False
    return found.__code__.co_argcount < (1 if asgi else 2) and not is_async(found)


def is_async(found):
    """Not asked of `inspect`, which every worker would have to load."""
    called = (found, getattr(type(found), "__call__", None))
    return any(isinstance(f, (FunctionType, MethodType)) and f.__code__.co_flags & CO_COROUTINE for f in called)


def others(module, location, asgi):
    """What to do when the callable is not there: those that the module has, as they are to be written."""
    # a .wsgi file without a folder and with a callable is taken for a module
    if os.path.dirname(location) == os.getcwd():
        location = os.path.basename(location)
        location = "./" + location if location.endswith(".wsgi") else location
    names = candidates(module, asgi)
    if names:
        written = " or ".join("`%s:%s`" % (location, name) for name in names[:3])
        there = "is the callable" if len(names) == 1 else "are the callables"
        return "; there %s %s: write %s" % (there, ", ".join(names[:3]), written)
    names = candidates(module, not asgi)
    if names:
        kind, key, instead, run = (
            ("WSGI", "wsgi", "asgi", "`stockade run` without --asgi") if asgi else ("ASGI", "asgi", "wsgi", "`stockade run --asgi`")
        )
        reason = "; there is the %s application %s: write `%s:%s`, with `%s` instead of `%s` (%s)"
        return reason % (kind, names[0], location, names[0], key, instead, run)
    makers = [name for name in ("create_app", "make_app", "build_app") if callable(getattr(module, name, None))]
    if makers:
        return "; if %s makes it, write `%s:%s()`" % (makers[0], location, makers[0])
    return ": define it, or name another callable, after a colon"


def takes(found, count):
    """Whether it can be called with so many arguments."""
    import inspect

    try:
        inspect.signature(found).bind(*[None] * count)
    # whatever the object of somebody else raises
    except Exception:
        return False
    return True


def candidates(module, asgi):
    """The names that the application may have: of a function of the module's own, or of an object, that can be called as one is."""
    return [name for name, value in vars(module).items() if not name.startswith("_") and may_be_meant(value, module, asgi)]


def may_be_meant(value, module, asgi):
    import inspect

    if inspect.isclass(value) or inspect.isfunction(value) and value.__module__ != module.__name__:
        return False
    return callable(value) and is_async(value) == asgi and takes(value, 3 if asgi else 2)


def fail_import(error, target):
    """What the application's code raised, with the remedy where it is known."""
    details = cut(error)
    if isinstance(error, ModuleNotFoundError):
        details += where() + remedy(error.name)
    if isinstance(error, SystemExit):
        details += "remedy: it ends the process when it is imported: put that behind `if __name__ == \"__main__\":`\n"
    fail(IMPORT_FAILED, target, "its import failed", details + denied(error))


def denied(error):
    """What to do about a file that this account may not use."""
    if not isinstance(error, PermissionError):
        return ""
    return (
        "remedy: let the account %s reach and read %s (chmod), or run the application as another (`user` in the pool,"
        " `--user` of `stockade run`)\n" % (account(), error.filename or "the file")
    )


def account():
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def cut(error):
    """The traceback from the application's code on, without the loader's and the import system's frames."""
    frame = error.__traceback__
    while frame is not None and is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def is_ours(filename):
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def where():
    interpreter = "%s (Python %s)" % (sys.executable, sys.version.split()[0])
    return "interpreter: %s\nsearched: %s\n" % (interpreter, ", ".join(sys.path))


def meant(name):
    """The module of the application's folders that `name` is most like."""
    parent, _, last = name.rpartition(".")
    folders = getattr(sys.modules.get(parent), "__path__", ()) if parent else sys.path
    installed = ("/site-packages", "/dist-packages")
    own = [f for f in folders if not f.startswith(sys.base_prefix) and not f.endswith(installed)]
    close = difflib.get_close_matches(last, [found.name for found in pkgutil.iter_modules(own)], 1)
    return "; did you mean %s?" % ".".join(filter(None, [parent, close[0]])) if close else ""


def remedy(name):
    """What to do about a module that the application needs and that is not there."""
    package = (name or "").partition(".")[0]
    if not package or package in sys.modules:
        return ""
    import sysconfig

    found = [f for f in virtual_environments() if os.path.realpath(f) != os.path.realpath(sys.prefix)]
    there = ", like %s" % found[0] if found else ""
    own = sys.prefix != sys.base_prefix
    if own or not os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")):
        install = "install it with `%s -m pip install %s`" % (sys.executable, package)
    else:
        install = "install it into a virtual environment (`%s -m venv venv && venv/bin/pip install %s`)" % (
            sys.executable,
            package,
        )
        install += " and name that"
    return (
        "remedy: if %s is a package, %s, or name the virtual environment that has it%s"
        " (python-home in the pool; before `stockade run`, activate it); if it is the application's own, name its folder"
        " (python-path in the pool; `stockade run` looks in the current folder: cd there)\n" % (package, install, there)
    )


def virtual_environments():
    """In the working directory and beside it."""
    home = os.getcwd()
    for folder in (home, os.path.dirname(home)):
        for name in ("venv", ".venv", "env"):
            if os.path.isfile(os.path.join(folder, name, "pyvenv.cfg")):
                yield os.path.join(folder, name)


def fail(status, target, reason, details=""):
    sys.stderr.write("could not load %s: %s\n%s" % (target, reason, details))
    sys.stderr.flush()
    raise SystemExit(status)
