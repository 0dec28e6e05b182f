"""Clips of sounds: what they are called, and what they say of themselves."""

# Metadata of clips: the sound they are of, and the seconds at which they begin in it.
SOURCE_ID, START = "source_id", "start"


def clip_id(item_id: str, start: float | None) -> str:
    """Id of a part: the item's own, or `<item_id>#<start in seconds>` of a clip."""
    if start is None:
        return item_id
    return f"{item_id}#{start:.3f}".rstrip("0").rstrip(".")


def sound_of(clip: str) -> str:
    """Id of the sound that a clip is of, by the clip's own id."""
    return clip.rpartition("#")[0]


def start_of(clip: str) -> float | None:
    """Seconds at which a clip begins, by its id; null of an id that is no clip's."""
    try:
        return float(clip.rpartition("#")[2]) if sound_of(clip) else None
    except ValueError:
        return None


def clip_columns(kind: str) -> dict[str, str]:
    """Names and types of the metadata that items of a kind have beside the catalog's."""
    return {SOURCE_ID: "string", START: "double"} if kind == "audio" else {}
