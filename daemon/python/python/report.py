"""Writes the adapter's reports to standard error, each in one write, and returns their text."""

import sys
import traceback


def write(line, error, frames):
    text = line + "\n"
    if error is not None:
        text += "".join(traceback.format_exception(type(error), error, frames))
    sys.stderr.write(text)
    sys.stderr.flush()
    return text
