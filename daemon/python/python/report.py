"""Writes the adapter's reports to standard error, each in one write."""

import sys
import traceback


def write(line, error=None):
    text = line + "\n"
    if error is not None:
        text += "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )
    sys.stderr.write(text)
    sys.stderr.flush()
