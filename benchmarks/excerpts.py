"""Whether an excerpt finds its song: clean, and under noise.

    .venv/bin/ruiji run --config configs/songs.yaml
    .venv/bin/python -m benchmarks.excerpts --config configs/songs.yaml --json work/benchmarks/excerpts.json

Excerpts are drawn by seed: a song in proportion to its length, a moment that lies at least a quarter of a hop off the
clips' grid, at the song's own rate and channels, where it is not silent. Noise is white and as loud as `--snr` says,
beside the excerpt as it is. Each excerpt is written as a WAV file and goes the way of `ruiji search --media`: decoder,
transform graph, network, index. Beside it stands the plain spectrum: the mean log-mel spectrum of the same clips, by
cosine, which is what one has without learning.
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tensorflow as tf

from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.commands.artefacts import DecodedMedia
from sim_transforms.commands.evaluate import mean_spectra
from sim_transforms.embedding.saved_model import SavedModelEmbedder
from sim_transforms.features.log_mel import log_mel
from sim_transforms.lookup.clips import search_clips
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.media.catalog import plan_catalog, read_part
from sim_transforms.media.decode import decode_media
from sim_transforms.records.items import MediaRef
from sim_transforms.records.media import MediaShape
from sim_transforms.settings.loader import load_settings

Array = np.ndarray[Any, Any]

# A WAV file -> the song that answers, and the seconds of it at which the file begins, where that is said.
Answerer = Callable[[bytes], tuple[str, float | None]]

_QUIETEST = 10.0 ** (-40 / 20)


@dataclass(frozen=True)
class Excerpt:
    """A piece of a song: [samples, channels] float32 at `rate`, from `start` seconds on."""

    song: str
    start: float
    rate: int
    samples: Array


@dataclass(frozen=True)
class Outcome:
    """Shares of the excerpts whose song came first, and whose place in it was right to a clip's hop."""

    noise: str
    system: str
    first: float
    placed: float | None
    excerpts: int


def draw(songs: Sequence[tuple[str, str]], seconds: float, hop: float, count: int, seed: int) -> list[Excerpt]:
    """Excerpts of (song, file) pairs."""
    generator = np.random.default_rng(seed)
    lengths = np.array([soundfile.info(path).duration for _, path in songs])
    room = np.maximum(lengths - seconds, 0)
    drawn: list[Excerpt] = []
    while len(drawn) < count:
        place = int(generator.choice(len(songs), p=room / room.sum()))
        start = float(generator.uniform(0, room[place]))
        if not hop / 4 <= start % hop <= 3 * hop / 4:
            continue
        name, path = songs[place]
        with soundfile.SoundFile(path) as file:
            file.seek(round(start * file.samplerate))
            samples = file.read(round(seconds * file.samplerate), dtype="float32", always_2d=True)
            if np.sqrt(np.square(samples).mean()) > _QUIETEST:
                drawn.append(Excerpt(name, start, file.samplerate, samples))
    return drawn


def wav_of(excerpt: Excerpt, snr: float | None, seed: int) -> bytes:
    """A WAV file of an excerpt, under white noise where a ratio in dB is given."""
    samples = excerpt.samples
    if snr is not None:
        noise = np.random.default_rng([seed, round(excerpt.start * 1000)]).standard_normal(samples.shape)
        loudness = np.sqrt(np.square(samples, dtype=np.float64).mean()) * 10.0 ** (-snr / 20)
        samples = samples + (loudness * noise).astype(np.float32)
        samples = samples / max(1.0, float(np.abs(samples).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, excerpt.rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def learned(opened: OpenVersion, embedder: SavedModelEmbedder) -> Answerer:
    """Answers a file with a song and the offset in it, as `ruiji search --media` does."""

    def answer(data: bytes) -> tuple[str, float | None]:
        parts = decode_media(data, embedder.manifest.media).parts
        vectors = embedder.embed([part.media for part in parts])
        best = search_clips(opened, vectors, [part.start or 0.0 for part in parts], 1)[0]
        return best.item_id, best.offset

    return answer


def plain(examples: Path) -> Answerer:
    """Answers by the mean spectrum of a clip, the mean over all clips taken off, by cosine."""
    media = DecodedMedia(examples)
    shape, ids = media.manifest.media, media.item_ids
    spectra = mean_spectra(media, ids)
    middle = spectra.mean(axis=0)
    known = _unit(spectra - middle)

    def answer(data: bytes) -> tuple[str, float | None]:
        clips = np.stack([np.frombuffer(part.media, "<i2") for part in decode_media(data, shape).parts])
        nearest = int((_unit(_spectra(clips, shape) - middle) @ known.T).max(axis=0).argmax())
        return ids[nearest].rpartition("#")[0], None

    return answer


def _spectra(clips: Array, shape: MediaShape) -> Array:
    assert shape.sound is not None
    values: Array = tf.reduce_mean(log_mel(tf.constant(clips), shape.sound), axis=1).numpy()
    return values


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def measure(
    excerpts: Sequence[Excerpt],
    systems: dict[str, Answerer],
    snr: float | None,
    hop: float,
) -> list[Outcome]:
    """Asks all systems for all excerpts."""
    outcomes = []
    for name, answer in systems.items():
        answers = [answer(wav_of(excerpt, snr, 1)) for excerpt in excerpts]
        right = [song == excerpt.song for (song, _), excerpt in zip(answers, excerpts, strict=True)]
        near = [
            offset is not None and abs(offset - excerpt.start) <= hop
            for (_, offset), excerpt in zip(answers, excerpts, strict=True)
        ]
        placed = sum(r and n for r, n in zip(right, near, strict=True)) / len(right) if any(near) else None
        noise = "none" if snr is None else f"white, {snr:g} dB"
        outcomes.append(Outcome(noise, name, sum(right) / len(right), placed, len(right)))
        notify(f"noise {noise}, {name}: {outcomes[-1].first:.3f}")
    return outcomes


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Excerpts of songs, clean and under noise.")
    parser.add_argument("--config", default="configs/songs.yaml")
    parser.add_argument("--workdir", help="as of the run")
    parser.add_argument("--excerpts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0, help="of an excerpt")
    parser.add_argument("--snr", type=float, default=10.0, help="dB from excerpt to noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    given, machine = parse(argv), describe_machine()
    settings = load_settings(given.config, workdir=given.workdir)
    workdir = Path(settings.workdir)
    plan = plan_catalog(_source(settings.catalog.source, workdir), settings.catalog.allow_outside)
    rows = (row for part in plan.parts for row in read_part(plan, part, 0))
    opened = open_version(settings.store)
    clips = opened.manifest.clips
    assert clips is not None
    known = set(opened.items.column("source_id").to_pylist())
    songs = [(row.item_id, row.uri) for row in rows if isinstance(row, MediaRef) and row.item_id in known]
    excerpts = draw(songs, given.seconds, clips.hop_seconds, given.excerpts, given.seed)
    systems = {
        "ruiji": learned(opened, SavedModelEmbedder.load(str(workdir / "model"), None)),
        "plain spectrum": plain(workdir / "examples"),
    }
    outcomes = [o for snr in (None, given.snr) for o in measure(excerpts, systems, snr, clips.hop_seconds)]
    section(f"{given.excerpts} excerpts of {given.seconds:g} s of {len(songs)} songs", machine_line(machine), "")
    rows_shown = [[o.noise, o.system, shown(o.first, 3), shown(o.placed, 3)] for o in outcomes]
    print(markdown_table(["noise", "system", "song first", "and its place"], rows_shown))
    write_json(given.json, {"machine": machine, "outcomes": [asdict(o) for o in outcomes]})


def _source(source: str, workdir: Path) -> str:
    return str(workdir / "catalog" / "catalog.csv") if source == "builtin:songs" else source


if __name__ == "__main__":
    main(sys.argv[1:])
