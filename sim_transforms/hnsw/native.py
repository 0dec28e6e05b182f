"""The one import of nmslib in this room; its notices on standard error are not for the users of Ruiji."""

import contextlib
import io
import logging

logging.getLogger("nmslib").setLevel(logging.WARNING)
with contextlib.redirect_stderr(io.StringIO()):
    import nmslib

__all__ = ["nmslib"]
