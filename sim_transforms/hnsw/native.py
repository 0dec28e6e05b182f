"""The one import of nmslib in this room.

NMSLIB's C++ code prints a notice about its build on standard error when it is loaded; it is not for the users of Ruiji,
and the wheel is as fast as a build from source (measured). File descriptor 2 is turned away for that moment only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _silenced() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silenced():
    import nmslib

__all__ = ["nmslib"]
