"""What a decoded file is: one part of a picture, a clip each of a sound, and the facts of the file."""

from dataclasses import dataclass

# Metadata of clips: the sound they are of, and the seconds at which they begin in it.
SOURCE_ID, START = "source_id", "start"


@dataclass(frozen=True)
class Part:
    """One item's media.

    Attributes:
        start: seconds at which a clip begins; null of a picture.
        media: row-major bytes, as `MediaShape` says.
    """

    start: float | None
    media: bytes


@dataclass(frozen=True)
class FileFacts:
    """What is told of a file beside its content; 0 where it has no meaning.

    Attributes:
        size_bytes: of the file.
        width, height: pixels as the file declares them.
        seconds: of the whole sound.
        sample_rate, channels: as the file has them.
    """

    size_bytes: int
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Parts:
    """A decoded file.

    Attributes:
        parts: at least one.
        skipped: clips left out because they are silent.
        facts: of the file.
    """

    parts: tuple[Part, ...]
    skipped: int
    facts: FileFacts


def clip_id(item_id: str, start: float | None) -> str:
    """Id of a part: the item's own, or `<item_id>#<start in seconds>` of a clip."""
    if start is None:
        return item_id
    return f"{item_id}#{start:.3f}".rstrip("0").rstrip(".")


def sound_of(clip: str) -> str:
    """Id of the sound that a clip is of, by the clip's own id."""
    return clip.rpartition("#")[0]


def clip_columns(kind: str) -> dict[str, str]:
    """Names and types of the metadata that items of a kind have beside the catalog's."""
    return {SOURCE_ID: "string", START: "double"} if kind == "audio" else {}
