"""TFRecord files -> the analysed graph of TensorFlow Transform: vocabulary of labels, means and variances.

Records are analysed by generations: what came in with one run is one, and its results are kept, so that a later run
analyses what is new and adds the others' results. All of them are sums of whole numbers: the graph is the same whatever
the generations are. A generation from which a record is gone is analysed anew.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow_transform.beam as tft_beam
from apache_beam.metrics import Metrics
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
from tfx_bsl.public import tfxio

from sim_transforms.features.example_format import FEATURE_SPEC
from sim_transforms.features.preprocessing import make_preprocessing_fn
from sim_transforms.kept_media import KEPT_SCHEMA
from sim_transforms.records.kept import records_beside
from sim_transforms.records.media import MediaShape
from sim_transforms.runs.generations import Generation
from sim_transforms.storage.tfrecord import read_range, split_records

_INPUTS = ("media", "label", "split")
_ID = "item_id"


@dataclass(frozen=True)
class Analysis:
    """What is analysed, and what is known already.

    Attributes:
        media: shape of the decoded media.
        min_examples_per_class: labels with fewer items are left out of the vocabulary.
        share: of the items, by hash of item_id, that are analysed.
        generations: of all records.
        known: those whose results lie in `cache`.
        cache: folder of results, a folder each.
    """

    media: MediaShape
    min_examples_per_class: int
    share: float
    generations: tuple[Generation, ...]
    known: frozenset[Generation]
    cache: str


@dataclass
class AnalyzeExamples(beam.PTransform):
    """Pipeline -> the written `transform/` folder (a TFTransformOutput), and results of the generations that had none.

    Attributes:
        tables: of the files behind the records, each beside its TFRecord file (`kept_media`).
        output: folder to write.
        fresh: folder for results, empty.
        analysis: what is analysed.
    """

    tables: tuple[str, ...]
    output: str
    fresh: str
    analysis: Analysis

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, begin: beam.pvalue.PBegin) -> beam.pvalue.PDone:
        """Reads the records of what is not known, analyses them in one pass, adds what is, writes the graph."""
        pipeline = begin.pipeline
        chosen = self.analysis
        schema = schema_utils.schema_from_feature_spec({name: FEATURE_SPEC[name] for name in (*_INPUTS, _ID)})
        source = tfxio.TFExampleRecord(file_pattern="", schema=schema, telemetry_descriptors=["ruiji"])
        narrow = source.Project(list(_INPUTS))
        files = pipeline | "Tables" >> beam.Create(self.tables)
        data = {}
        for generation in chosen.generations:
            is_known = generation in chosen.known
            name, key = f"{generation.number}", tft_beam.analyzer_cache.DatasetKey(generation.name)
            reader = ReadGeneration(generation.number, chosen.media, chosen.share, narrow.ArrowSchema().names)
            spread = None if is_known else files | f"Spread[{name}]" >> beam.Reshuffle()
            data[key] = None if spread is None else spread | f"Read[{name}]" >> beam.ParDo(reader)
        cache = pipeline | "ReadCache" >> tft_beam.analyzer_cache.ReadAnalysisCacheFromFS(
            chosen.cache, [tft_beam.analyzer_cache.DatasetKey(generation.name) for generation in chosen.known]
        )
        preprocessing_fn = make_preprocessing_fn(chosen.media, chosen.min_examples_per_class)
        analyze = tft_beam.AnalyzeDatasetWithCache(preprocessing_fn, pipeline=pipeline)
        analysed, results = (data, cache, narrow.TensorAdapterConfig()) | "Analyze" >> analyze
        results | "WriteCache" >> tft_beam.analyzer_cache.WriteAnalysisCacheToFS(pipeline, self.fresh)
        return analysed | "WriteTransform" >> tft_beam.WriteTransformFn(self.output)


class ReadGeneration(beam.DoFn):
    """Path of a table -> Arrow batches of the records of one generation that stand in the TFRecord file beside it.

    Args:
        generation: its number.
        media: shape of the decoded media.
        share: of the items, by hash of item_id.
        columns: of the batches, in their order.
    """

    def __init__(self, generation: int, media: MediaShape, share: float, columns: list[str]) -> None:
        self._generation, self._share, self._columns = generation, share, columns
        self._batch = analyzed_batch(media)
        self._decoder: ExamplesToRecordBatchDecoder | None = None

    def setup(self) -> None:
        """Makes the decoder, which reads no more than what is looked at."""
        names = (*_INPUTS, _ID) if self._share < 1.0 else _INPUTS
        schema = schema_utils.schema_from_feature_spec({name: FEATURE_SPEC[name] for name in names})
        self._decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())

    def process(self, table: str) -> Iterator[pa.RecordBatch]:
        """Reads one file."""
        waiting: list[bytes] = []
        for record in self._records(Path(table)):
            waiting.append(record)
            if len(waiting) >= self._batch:
                yield from self._decoded(waiting)
                waiting = []
        if waiting:
            yield from self._decoded(waiting)

    def _records(self, table: Path) -> Iterator[bytes]:
        rows = pq.read_table(table, schema=KEPT_SCHEMA, columns=["generation", "offset", "length"])
        rows = rows.filter(pc.equal(rows.column("generation"), self._generation))
        path = records_beside(table)
        with path.open("rb") as file:
            for offset, length in zip(
                rows.column("offset").to_pylist(), rows.column("length").to_pylist(), strict=True
            ):
                yield from split_records(read_range(file.fileno(), offset, length, str(path)), str(path), offset)

    def _decoded(self, records: list[bytes]) -> Iterator[pa.RecordBatch]:
        assert self._decoder is not None
        batch = self._decoder.DecodeBatch(records)
        if self._share < 1.0:
            batch = keep_share(batch, self._share)
        Metrics.counter("ruiji", "records_analyzed").inc(batch.num_rows)
        if batch.num_rows:
            yield batch.select(self._columns)


def analyzed_batch(media: MediaShape) -> int:
    """Examples that are analysed at once: some 4 MiB of media, whose sums take some ten times that to make."""
    return max(8, min(1000, 2**22 // media.item_bytes))


def keep_share(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """The rows whose hash of item_id falls under `share`."""
    limit = int(share * 2**64)
    ids = batch.column(_ID).to_pylist()
    kept = [row for row, values in enumerate(ids) if _hash(values[0]) < limit]
    return batch.take(pa.array(kept, pa.int32()))


def _hash(item_id: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"analyze:" + item_id).digest()[:8], "big")
