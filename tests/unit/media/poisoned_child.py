"""A decoder's process in which some files, by name, sleep, eat memory, crash or end it: what a decoder's bug may do."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from sim_transforms.media import decode_child, image

_KEPT: list[bytearray] = []


def read_media(uri: str, most_bytes: int) -> bytes:
    """Misbehaves as the name says, or reads."""
    name = Path(uri).stem
    if name == "sleeps":
        time.sleep(1000)
    if name == "spins":
        while True:
            pass
    if name == "eats":
        held = []
        while True:
            held.append(bytearray(2**24))
    if name == "leaks":
        # Nearly all that this process may hold, for good: the next file finds none.
        while True:
            try:
                _KEPT.append(bytearray(2**16))
            except MemoryError:
                del _KEPT[-4:]
                break
    if name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "exits":
        os._exit(3)
    return image.read_media(uri, most_bytes)


if __name__ == "__main__":
    decode_child.read_media = read_media
    decode_child.serve(json.loads(sys.argv[1]))
