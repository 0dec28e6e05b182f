"""The process in which files are decoded: reads a JSON string a line, answers a JSON object a line, and the media.

Started by `guard.GuardedDecoder` with one argument, `{"shape", "seconds", "memory", "slots"}`. Imports little, since it
is started again after each file that stopped it.
"""

import hashlib
import json
import mmap
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from sim_transforms.errors import MediaError
from sim_transforms.media.decode import decode_media, most_bytes
from sim_transforms.media.image import read_media
from sim_transforms.media.parts import Part
from sim_transforms.records.codec import from_plain
from sim_transforms.records.media import MediaShape

STARTED = b"ready\n"


def serve(told: dict[str, Any]) -> None:
    """Answers until standard input ends."""
    shape = from_plain(MediaShape, told["shape"], source="decoder")
    resource.setrlimit(resource.RLIMIT_DATA, (told["memory"], told["memory"]))
    asked, out = _pipes()
    slots = Slots(told["slots"])
    out.write(STARTED)
    out.flush()
    for place, line in enumerate(asked):
        # Should the parent be gone while a file holds this process, the alarm ends it.
        signal.setitimer(signal.ITIMER_REAL, 2 * told["seconds"] + 1)
        head, parts = answer(json.loads(line), shape)
        signal.setitimer(signal.ITIMER_REAL, 0)
        slot = slots.lay(place, parts)
        out.write(json.dumps({**head, "place": place, "slot": slot}).encode() + b"\n")
        for part in parts if slot is None else ():
            out.write(part.media)
        out.flush()


class Slots:
    """The shared memory that `guard` has, from this side."""

    def __init__(self, told: dict[str, int] | None) -> None:
        self._told = told
        self._memory = mmap.mmap(told["descriptor"], told["bytes"] * told["count"]) if told else None

    def lay(self, place: int, parts: tuple[Part, ...]) -> int | None:
        """Lays the media of a file that is one part into a slot; null where they have to go through the pipe."""
        told = self._told
        if told is None or self._memory is None or len(parts) != 1 or len(parts[0].media) != told["bytes"]:
            return None
        slot = place % told["count"]
        self._memory[slot * told["bytes"] : (slot + 1) * told["bytes"]] = parts[0].media
        return slot


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output under other numbers, so that nothing else in this process reads or writes them.

    What Python says on standard error still gets there; what decoders chat is dropped.
    """
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    return pipes


def answer(uri: str, shape: MediaShape) -> tuple[dict[str, Any], tuple[Part, ...]]:
    """What is said of a file, and its parts."""
    try:
        data = read_media(uri, most_bytes(shape.kind))
        decoded = decode_media(data, shape)
    except MediaError as error:
        return {"reason": error.reason, "message": error.message[:2000]}, ()
    except MemoryError:
        return {"reason": "out_of_memory", "message": "the file takes more memory than a decoder may hold"}, ()
    told = {
        "digest": hashlib.sha256(data).hexdigest(),
        "starts": [part.start for part in decoded.parts],
        "bytes": len(decoded.parts[0].media),
        "skipped": decoded.skipped,
        "facts": vars(decoded.facts),
    }
    return told, decoded.parts


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
