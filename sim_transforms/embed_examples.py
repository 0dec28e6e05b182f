"""`examples/` and `model/` -> `embeddings/`: every item through the model once, by RunInference.

A batch is a fixed number of consecutive records of one example shard and one Beam element, so that no runner can batch
again: TensorFlow's outputs change in their last bits with the shape of the batch.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.counters import count
from sim_transforms.embedding.saved_model import SavedModelEmbedder, batch_size
from sim_transforms.features.example_format import decode_example
from sim_transforms.records.batches import EmbeddedBatch, ExampleBatch, column_of, embeddings_schema
from sim_transforms.records.ledger import LedgerEntry
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.resource_hints import Hints, asking
from sim_transforms.runs.tally import Tally
from sim_transforms.storage.files import replace_file
from sim_transforms.storage.tfrecord import read_records


@dataclass
class EmbedExamples(beam.PTransform):
    """Shard numbers -> one LedgerEntry a shard, having written `embeddings-<i>-of-<n>.parquet` each.

    Attributes:
        examples: folder of the examples.
        model: folder of the model.
        output: folder for the Parquet files.
        manifest: of the examples.
        dimension: of the model's vectors.
        intra_op_threads: of TensorFlow in each worker process.
        tally: folder for progress (`runs.tally`), "" for none.
        hints: of the steps from a shard's number to its vectors, so that media stay in the process that reads them.
    """

    examples: str
    model: str
    output: str
    manifest: ExamplesManifest
    dimension: int
    intra_op_threads: int
    tally: str = ""
    hints: Hints = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, shards: beam.PCollection[int]) -> beam.PCollection[LedgerEntry]:
        """Chains reading, inference and writing."""
        size = batch_size(self.manifest.media)
        read = beam.FlatMap(read_batches, self.examples, self.manifest, size, self.tally)
        run = RunInference(EmbedderHandler(self.model, self.intra_op_threads))
        written = (
            shards
            | "Spread" >> beam.Reshuffle()
            | "ReadBatches" >> read.with_resource_hints(**self.hints)
            | "Embed" >> run.with_resource_hints(**self.hints)
            | "KeyByShard" >> beam.Map(_key_by_shard).with_resource_hints(**self.hints)
            | "GroupByShard" >> beam.GroupByKey()
        )
        schema = embeddings_schema(self.dimension, self.manifest.metadata_columns)
        return written | "Write" >> beam.Map(write_embeddings, self.output, self.manifest.shards, schema)


def embedding_hints(options: PipelineOptions, model: Path, manifest: ExamplesManifest) -> Hints:
    """What the runner is asked for where a model embeds examples."""
    return asking(options).embedding(model, batch_size(manifest.media) * manifest.media.item_bytes)


def read_batches(
    shard: int, examples: str, manifest: ExamplesManifest, size: int, tally: str = ""
) -> Iterator[ExampleBatch]:
    """Reads one shard as batches of `size` consecutive records, the last one shorter."""
    done = Tally(tally, f"{shard:05d}")
    path = Path(examples) / manifest.example_file(shard)
    rows = (decode_example(record) for record in read_records(path))
    for number in itertools.count():
        part = tuple(itertools.islice(rows, size))
        if not part:
            return
        yield ExampleBatch(
            shard=shard,
            batch=number,
            item_ids=tuple(r.item_id for r in part),
            labels=tuple(r.label for r in part),
            splits=tuple(r.split for r in part),
            digests=tuple(r.digest for r in part),
            metadata=tuple(r.metadata for r in part),
            media=tuple(r.media for r in part),
        )
        done.add(len(part))


class EmbedderHandler(ModelHandler[ExampleBatch, PredictionResult, SavedModelEmbedder]):
    """Runs an exported model on ExampleBatch elements; Beam's own TensorFlow handlers cannot load Keras 3 exports."""

    def __init__(self, model: str, intra_op_threads: int) -> None:
        """Keeps the path; the model is loaded in the worker."""
        super().__init__()
        self._model = model
        self._intra_op_threads = intra_op_threads

    def load_model(self) -> SavedModelEmbedder:
        """Loads once a process, whose threads share it.

        A Dataflow worker has a process a core, so a machine holds the model as often as it has cores; its hints count
        that, and TF_FORCE_GPU_ALLOW_GROWTH in the image lets the processes share an accelerator.
        """
        return SavedModelEmbedder.load(self._model, self._intra_op_threads)

    def run_inference(
        self,
        batch: Sequence[ExampleBatch],
        model: SavedModelEmbedder,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Embeds each element on its own, padded to the one batch shape."""
        return [PredictionResult(replace(b, media=()), model.embed(b.media)) for b in batch]

    def batch_elements_kwargs(self) -> dict[str, int]:
        """Elements are batches already."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_metrics_namespace(self) -> str:
        """Prefix of RunInference's counters."""
        return "ruiji_embed"

    def share_model_across_processes(self) -> bool:
        """One model a process: sharing costs a copy of each batch between processes."""
        return False


def _key_by_shard(result: PredictionResult) -> tuple[int, EmbeddedBatch]:
    return result.example.shard, EmbeddedBatch(result.example, result.inference)


def write_embeddings(
    group: tuple[int, Iterable[EmbeddedBatch]], output: str, shards: int, schema: pa.Schema
) -> LedgerEntry:
    """Writes a shard's vectors in the order of its records."""
    shard, batches = group
    ordered = sorted(batches, key=lambda b: b.batch.batch)
    tables = [_table(b, schema) for b in ordered]
    name = f"embeddings-{shard:05d}-of-{shards:05d}.parquet"
    with replace_file(Path(output) / name) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, row_group_size=16_384)
    rows = sum(t.num_rows for t in tables)
    return count(LedgerEntry("embed", name, items_in=sum(len(b.batch.item_ids) for b in ordered), items_out=rows))


def _table(embedded: EmbeddedBatch, schema: pa.Schema) -> pa.Table:
    batch = embedded.batch
    if not np.isfinite(embedded.vectors).all():
        raise ValueError(f"the model gave a vector that is not finite, in batch {batch.batch} of shard {batch.shard}")
    columns: dict[str, Any] = {
        "item_id": batch.item_ids,
        "label": batch.labels,
        "split": batch.splits,
        "digest": batch.digests,
        "embedding": column_of(embedded.vectors),
    }
    rows = [dict(m) for m in batch.metadata]
    for name in schema.names[5:]:
        columns[name] = [row.get(name) for row in rows]
    return pa.table(
        {n: pa.array(v, schema.field(n).type) if n != "embedding" else v for n, v in columns.items()}, schema
    )
