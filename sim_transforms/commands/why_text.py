"""What `ruiji why` says of a standing: for people, as JSON, and as the error of an item that stands nowhere."""

from collections.abc import Sequence
from typing import Any

from sim_transforms.commands.compared import counted
from sim_transforms.commands.why import InVersion, Standing
from sim_transforms.errors import NotFound
from sim_transforms.records.codec import to_plain

# Starts of clips in a line.
_SHOWN_CLIPS = 10


def not_found(standing: Standing) -> NotFound:
    """The error of an item that stands nowhere."""
    places = [f"the versions of {standing.store}"]
    if standing.catalog is not None:
        places.append(f"the working directory, and the catalog {standing.catalog}")
    near = f"; did you mean {', '.join(standing.nearest)}?" if standing.nearest else ""
    bad = f"; {', '.join(standing.unreadable)} cannot be read (`ruiji versions verify`)" if standing.unreadable else ""
    return NotFound(f"item {standing.item_id!r} stands nowhere: looked in {', '.join(places)}{near}{bad}")


def why_json(standing: Standing) -> dict[str, Any]:
    """The object that --json prints."""
    plain: dict[str, Any] = to_plain(standing)
    return plain


def why_text(standing: Standing) -> str:
    """A headline, then a line a place."""
    lines = [f"{standing.item_id}: {_headline(standing)}"]
    if standing.published is not None:
        lines.append(f"version    {_place(standing.published)}, LATEST")
    lines += _clip_lines(standing)
    for said in standing.rejected:
        lines.append(f"dropped    at {said.stage}: {said.reason}: {said.message}")
        lines.append(f"           {said.uri}; {said.file}, written {said.written}")
    if standing.in_catalog is not None:
        row = "" if standing.catalog_row is None else f"row {standing.catalog_row} of "
        lines.append(f"catalog    {row if standing.in_catalog else 'not in '}{standing.catalog}")
    if standing.examples is not None:
        shard, offset, length = standing.examples
        lines.append(f"examples   shard {shard}, {length:,} bytes from {offset:,} on")
    if standing.embeddings is not None:
        lines.append(f"embeddings {standing.embeddings}")
    lines += [f"older      {_place(place)}, of {place.created}" for place in standing.older]
    lines += [f"unreadable {version} (`ruiji versions verify {version}`)" for version in standing.unreadable]
    return "\n".join(lines)


def _clip_lines(standing: Standing) -> list[str]:
    """Which parts of a sound can be found, and which cannot."""
    if standing.sound is None or not standing.clips:
        return []
    if standing.item_id != standing.sound:
        return [f"clip       of {standing.sound}, from {standing.clips[0].start:g} s on"]
    held = [clip.start for clip in standing.clips if clip.row is not None]
    silent = [clip.start for clip in standing.clips if clip.row is None]
    lines = [f"clips      {len(held):,}, from {_seconds(held)} on"]
    return [*lines, f"silent     {len(silent):,} skipped, from {_seconds(silent)} on"] if silent else lines


def _seconds(starts: Sequence[float]) -> str:
    shown = ", ".join(f"{start:g}" for start in starts[:_SHOWN_CLIPS])
    return f"{shown}{f', ... {starts[-1]:g}' if len(starts) > _SHOWN_CLIPS else ''} s"


def _place(place: InVersion) -> str:
    if place.clips:
        return f"{place.version}, {counted(place.clips, 'clip')}, the first in row {place.row}, shard {place.shard}"
    return f"{place.version}, row {place.row}, shard {place.shard}"


def _headline(standing: Standing) -> str:
    if standing.status == "published":
        gone = standing.in_catalog is False
        return "published, but not in the catalog: `ruiji reindex` takes it out" if gone else "published"
    if standing.status == "silent":
        return f"skipped, because it is silent; other clips of {standing.sound} are published"
    if standing.status == "rejected":
        return f"dropped at {standing.rejected[0].stage}"
    if standing.status == "waiting":
        command = "run" if standing.latest is None else "reindex"
        return f"in the catalog, but not published yet: run `ruiji {command}`"
    if standing.status == "withdrawn":
        return "not in LATEST; older versions hold it"
    return "in the working directory alone" if standing.status == "prepared" else "stands nowhere"
