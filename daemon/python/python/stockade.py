"""What an application may use of Stockade. Outside Stockade nothing is to be had: `active` is False, and nothing is ever raised."""

active = False


class RequestTimeout(BaseException):
    """The request's time is over (interrupt-timeout)."""
