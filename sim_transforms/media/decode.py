"""Media of any kind: what settings make of a file, by the decoder of its kind, which is imported when it is needed."""

from sim_transforms.errors import MediaError
from sim_transforms.media.parts import MAX_FILE_BYTES, MAX_SOUND_BYTES, Parts
from sim_transforms.records.media import MediaShape
from sim_transforms.settings.stages import ImageSettings, MediaSettings


def media_shape(settings: MediaSettings) -> MediaShape:
    """What `decode_media` gives, and how."""
    if isinstance(settings, ImageSettings):
        from sim_transforms.media.image import image_shape

        return image_shape(settings)
    from sim_transforms.media.sound import sound_shape

    return sound_shape(settings)


def decoder_version(kind: str) -> str:
    """Changes whenever the same file may decode to other bytes; part of a model's fingerprint."""
    if kind == "image":
        from sim_transforms.media import image

        return image.decoder_version()
    from sim_transforms.media import sound

    return sound.decoder_version()


def most_bytes(kind: str) -> int:
    """Larger files of a kind are refused before they are read."""
    return MAX_FILE_BYTES if kind == "image" else MAX_SOUND_BYTES


def decode_media(data: bytes, shape: MediaShape) -> Parts:
    """Decodes a file.

    Raises:
        MediaError: as `decode_image` or `decode_sound`.
    """
    if shape.kind == "image":
        from sim_transforms.media.image import decode_picture

        return decode_picture(data, shape)
    if shape.kind == "audio":
        from sim_transforms.media.sound import decode_sound

        return decode_sound(data, shape)
    raise MediaError("unsupported_kind", f"media of kind {shape.kind} are not decoded")
