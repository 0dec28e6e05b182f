"""The process in which files are decoded: reads a JSON string a line, answers a JSON object a line, and the media.

Started by `guard.GuardedDecoder` with one argument, `{"shape", "seconds", "memory"}`. Imports little, because it is
started again after each file that stopped it.
"""

import hashlib
import json
import resource
import signal
import sys
from typing import Any

from sim_transforms.errors import MediaError
from sim_transforms.media.image import decode_image, read_media
from sim_transforms.records.codec import from_plain
from sim_transforms.records.manifests import MediaShape


def serve(told: dict[str, Any]) -> None:
    """Answers until standard input ends."""
    shape = from_plain(MediaShape, told["shape"], source="decoder")
    resource.setrlimit(resource.RLIMIT_DATA, (told["memory"], told["memory"]))
    out = sys.stdout.buffer
    out.write(b"{}\n")
    out.flush()
    for line in sys.stdin.buffer:
        # Should the parent be gone while a file holds this process, the alarm ends it.
        signal.setitimer(signal.ITIMER_REAL, 2 * told["seconds"] + 1)
        head, media = answer(json.loads(line), shape)
        out.write(json.dumps(head).encode() + b"\n" + media)
        out.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)


def answer(uri: str, shape: MediaShape) -> tuple[dict[str, Any], bytes]:
    """What is said of a file, and its decoded content."""
    try:
        data = read_media(uri)
        media = decode_image(data, shape).tobytes()
    except MediaError as error:
        return {"reason": error.reason, "message": error.message}, b""
    except MemoryError:
        return {"reason": "out_of_memory", "message": "the file takes more memory than a decoder may hold"}, b""
    return {"digest": hashlib.sha256(data).hexdigest(), "bytes": len(media)}, media


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
