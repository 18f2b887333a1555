"""Finds the WSGI application that a pool names: `module:callable`, or a script's path with `:callable` or not.

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

DEFAULT_CALLABLE = "application"
IMPORT_FAILED = 3
NO_CALLABLE = 4
OWN_REMEDY = "remedy: correct the name, or name the folder it is in (python-path, or home)\n"


def load(target, python_path):
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
    module = import_script(location, target) if script else import_module(location, target)
    return find_callable(module, name, target)


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
        fail(IMPORT_FAILED, target, "its import failed", cut(error) + where() + remedy(error.name))
    except BaseException as error:
        fail(IMPORT_FAILED, target, "its import failed", cut(error))


def import_script(path, target):
    if not os.path.isfile(path):
        fail(IMPORT_FAILED, target, "there is no file %s" % path)
    name, extension = os.path.splitext(os.path.basename(path))
    if not name.isidentifier() or name in sys.modules or extension != ".py":
        name = "stockade_script_" + "".join(c if c.isalnum() else "_" for c in name)
    spec = importlib.util.spec_from_file_location(name, path, loader=ScriptLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        fail(IMPORT_FAILED, target, "its import failed", cut(error) + where() + remedy(error.name))
    except BaseException as error:
        fail(IMPORT_FAILED, target, "its import failed", cut(error))
    return module


class ScriptLoader(SourceFileLoader):
    """Without a cache: app.wsgi would share its file with app.py."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def find_callable(module, name, target):
    found = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            close = difflib.get_close_matches(part, dir(found), 1)
            hint = "; did you mean %s?" % close[0] if close else ""
            holder = getattr(found, "__name__", type(found).__name__)
            fail(NO_CALLABLE, target, "%s has no %s%s" % (holder, part, hint))
    if not callable(found):
        kind = type(found).__name__
        fail(NO_CALLABLE, target, "%s is not callable: it is of type %s" % (name, kind))
    return found


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
    found = [f for f in virtual_environments() if os.path.realpath(f) != os.path.realpath(sys.prefix)]
    there = ", like %s" % found[0] if found else ""
    return (
        "remedy: if %s is a package, install it with `%s -m pip install %s`, or name the virtual environment that has it%s"
        " (python-home in the pool; before `stockade run`, activate it); if it is the application's own, name its folder"
        " (python-path)\n" % (package, sys.executable, package, there)
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
