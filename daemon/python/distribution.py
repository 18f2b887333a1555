"""The wheel: a build backend (PEP 517) around maturin's.

maturin puts what one cargo package builds into a wheel: here the command. The adapter is another package, and nobody imports it: the command hands it to
the interpreter that a pool names. So it is built first and goes in as data, to lib/stockade next to bin, where the command looks for it. The wheel is
therefore for every Python 3.9 or later at once, and not of one ABI. The module `stockade` goes in the same way.

`-C profile=dev` builds with another profile of cargo's than release, and strips nothing.
"""

import json
import os
import shutil
import subprocess

import maturin
from maturin import get_requires_for_build_editable, get_requires_for_build_wheel

# what pyproject.toml names as maturin's data
STAGED = "target/wheel"


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    # maturin wants it to be there whatever it is asked for
    os.makedirs(STAGED, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(metadata_directory)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return maturin.build_wheel(wheel_directory, staged(config_settings), metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return maturin.build_editable(wheel_directory, staged(config_settings), metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("could not make a source distribution of Stockade: there is none: build the wheel from a checkout with `pip wheel .`")


def staged(settings):
    """Builds the adapter and lays out what goes in beside the command; the settings for maturin."""
    settings = dict(settings or {})
    chosen = settings.pop("profile", None)
    profile = ["--profile", chosen or "release"]
    shutil.rmtree(STAGED, ignore_errors=True)
    put(adapter(profile, strip=chosen is None), "data/lib/stockade")
    put("daemon/python/python/stockade.py", "purelib")
    words = maturin.get_maturin_pep517_args(settings)
    settings["build-args"] = [*profile, *([] if chosen else ["--strip"]), *words]
    return settings


def put(file, folder):
    folder = os.path.join(STAGED, folder)
    os.makedirs(folder)
    shutil.copy2(file, folder)


def adapter(profile, strip):
    command = ["cargo", "rustc", "--locked", "--package", "stockade-python", *profile, "--message-format=json-render-diagnostics"]
    if strip:
        command += ["--", "-C", "strip=symbols"]
    messages = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    built = [message for message in map(json.loads, messages) if message.get("target", {}).get("name") == "stockade_python"]
    return next(file for file in built[-1]["filenames"] if file.endswith(".so"))
