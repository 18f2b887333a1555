"""What servers on event loops and hubs share."""

def printable(text):
    """A client must not write lines into the log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_in_reports(fault, request, pool, method, path):
    subject = "request" + (" %s" % request if request else "") + (" of pool %s" % pool if pool else "")
    return "%s: %s %s %s" % (subject, fault, method, printable(path))


def exit_status(error):
    """Of what an application raised that ends the worker; None: it does not."""
    if isinstance(error, SystemExit):
        code = error.code
        return 0 if code is None else code if isinstance(code, int) else 1
    return 1 if isinstance(error, KeyboardInterrupt) else None


def of_leaving(error):
    """Whether an exception is the client's leaving, as `send` tells it, or what a framework has made of that. One of Python's own classes
    that was raised meanwhile is a fault all the same."""
    together = getattr(error, "exceptions", None)
    if together:
        return all(map(of_leaving, together))
    if isinstance(error, OSError):
        return True
    origin = error.__cause__ or error.__context__
    return type(error).__module__ != "builtins" and origin is not None and of_leaving(origin)
