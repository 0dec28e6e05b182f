"""No skew: an item is the same bits in the TFRecords, in a training batch, in the embedding job and as a query."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tensorflow as tf

from sim_transforms.commands.artefacts import DecodedMedia
from sim_transforms.embedding.saved_model import SavedModelEmbedder, batch_size
from sim_transforms.lookup.open import open_version
from sim_transforms.media.decode import decode_media
from sim_transforms.records.manifests import ModelManifest
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog, ruiji
from tests.unit.media.sounds import melody
from trainer.dataset import FeatureReader
from trainer.places import load_places
from trainer.records import RecordReader

pytestmark = pytest.mark.slow

KINDS = ("image", "audio")


def _sounds(folder: Path, count: int) -> Path:
    """A CSV catalog of melodies in two formats and rates."""
    lines = ["item_id,uri,label,split"]
    for number in range(count):
        name, rate = (f"{number}.flac", 44_100) if number % 2 else (f"{number}.ogg", 16_000)
        soundfile.write(folder / name, melody(3.1, rate, number), rate)
        lines.append(f"song-{number:02d},{name},class-{number % 3},train")
    catalog = folder / "sounds.csv"
    catalog.write_text("\n".join(lines) + "\n")
    return catalog


@pytest.fixture(scope="module", params=KINDS)
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of a run."""
    folder = tmp_path_factory.mktemp(request.param)
    media = folder / "media"
    media.mkdir()
    if request.param == "image":
        config = configuration(folder, digits_catalog(media, 90))
    else:
        sound = {"kind": "audio", "sample_rate": 16000, "seconds": 1.0, "hop_seconds": 0.5}
        config = configuration(folder, _sounds(media, 18), media=sound)
    ruiji("run", "--config", str(config), "--workdir", str(folder / "work"), *ONE_PROCESS)
    return folder / "work"


def _items(work: Path) -> tuple[list[str], Any]:
    """Ids and decoded media of all examples, in the order of the files."""
    media = DecodedMedia(work / "examples")
    ids = pq.read_table(work / "examples" / "offsets.parquet").column("item_id").to_pylist()
    return ids, media.pixels(ids)


def test_a_file_decodes_to_the_bytes_of_its_examples(work: Path) -> None:
    ids, stored = _items(work)
    shape = DecodedMedia(work / "examples").manifest.media
    by_id = dict(zip(ids, stored, strict=True))
    for line in next(work.parent.joinpath("media").glob("s*.csv")).read_text().splitlines()[1:20]:
        item_id, uri = line.split(",")[:2]
        for part in decode_media((work.parent / "media" / uri).read_bytes(), shape).parts:
            place = item_id if part.start is None else f"{item_id}#{part.start:g}"
            assert by_id[place].tobytes() == part.media


def test_features_do_not_depend_on_what_else_is_in_the_batch(work: Path) -> None:
    ids, stored = _items(work)
    examples = work / "examples"
    manifest = ModelManifest.load(work / "model")
    places = load_places(examples)
    reader, records = FeatureReader(examples), RecordReader.of_examples(examples, DecodedMedia(examples).manifest)
    of_records = np.concatenate([reader.features([records.read(places, row)]).numpy() for row in range(len(places))])
    records.close()
    assert places.item_ids.to_pylist() == ids
    assert of_records.shape == (len(ids), *manifest.media.feature_shape)
    media = [item.tobytes() for item in stored]
    whole = reader.features_of_media(media).numpy()
    np.testing.assert_array_equal(whole, of_records)
    served = tf.saved_model.load(str(work / "model" / "saved_model")).signatures["serving_features"]
    size = batch_size(manifest.media)
    padded = [*media[-3:], *[bytes(len(media[0]))] * (size - 3)]
    np.testing.assert_array_equal(served(media=tf.constant(padded))["features"].numpy()[:3], of_records[-3:])


def test_a_query_is_embedded_as_its_item_was(work: Path) -> None:
    ids, stored = _items(work)
    embedder = SavedModelEmbedder.load(str(work / "model"), None)
    tables = [pq.read_table(path) for path in sorted((work / "embeddings").glob("*.parquet"))]
    known = {row["item_id"]: row["embedding"] for table in tables for row in table.to_pylist()}
    for item_id, item in list(zip(ids, stored, strict=True))[::7]:
        alone = embedder.embed([item.tobytes()])[0]
        np.testing.assert_array_equal(alone, np.array(known[item_id], np.float32))


def test_search_by_media_finds_the_item_at_no_distance(work: Path) -> None:
    catalog = next(work.parent.joinpath("media").glob("s*.csv"))
    item_id, uri = catalog.read_text().splitlines()[5].split(",")[:2]
    store, model = str(work / "store"), str(work / "model")
    found = ruiji("search", "--store", store, "--model", model, "--media", str(catalog.parent / uri), "--json")
    first = json.loads(found.stdout)["matches"][0]
    assert first["item_id"] == item_id
    assert first["distance"] == pytest.approx(0.0, abs=1e-6)
    assert open_version(store).manifest.clips is None or first["offset"] == 0.0
