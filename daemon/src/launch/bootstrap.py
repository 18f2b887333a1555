# Loads the adapter from the descriptor that the launcher passed on, and runs it. Given to the interpreter with -c; must parse in any Python.
import sys
# what -c puts there: an application's module must not stand in for one that is imported here
if sys.path and sys.path[0] == "":
    del sys.path[0]
def refuse(reason):
    sys.stderr.write("stockade: the interpreter %s cannot run the adapter: %s\n" % (sys.executable, reason))
    sys.exit(5)
if sys.version_info < (3, 9):
    refuse("it is Python %d.%d; 3.9 or later is needed" % sys.version_info[:2])
if sys.implementation.name != "cpython":
    refuse("it is %s; CPython is needed" % sys.implementation.name)
if "t" in sys.abiflags:
    refuse("it is a free-threaded build, which is not supported")
import os
from importlib.machinery import ExtensionFileLoader, ModuleSpec
descriptor = int(os.environ.pop("STOCKADE_ADAPTER_FD"))
loader = ExtensionFileLoader("stockade_python", "/proc/self/fd/%d" % descriptor)
try:
    spec = ModuleSpec("stockade_python", loader, origin=loader.path)
    adapter = loader.create_module(spec)
    adapter.__loader__ = loader
    adapter.__spec__ = spec
    sys.modules["stockade_python"] = adapter
    loader.exec_module(adapter)
except ImportError as error:
    refuse("%s (is it built for another C library?)" % error)
os.close(descriptor)
sys.exit(adapter.main(sys.argv[1:]))
