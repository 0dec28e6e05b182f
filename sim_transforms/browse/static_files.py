"""The files that are the same in every page, as the package holds them; imports nothing heavy."""

import hashlib
from importlib.resources import files

NAMES = ("app.js", "index.html", "style.css")


def static_file(name: str) -> bytes:
    """One of them."""
    return (files("sim_transforms.browse") / "static" / name).read_bytes()


def static_digest() -> str:
    """SHA-256 of all of them."""
    return hashlib.sha256(b"".join(static_file(name) for name in NAMES)).hexdigest()
