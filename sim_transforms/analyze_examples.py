"""TFRecord files -> the analysed graph of TensorFlow Transform: vocabulary of labels, means and variances."""

import hashlib
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.public import tfxio

from sim_transforms.features.example_format import FEATURE_SPEC
from sim_transforms.features.preprocessing import make_preprocessing_fn
from sim_transforms.records.media import MediaShape

_INPUTS = ("media", "label", "split")


@dataclass
class AnalyzeExamples(beam.PTransform):
    """Pipeline -> the written `transform/` folder (a TFTransformOutput).

    Attributes:
        pattern: of the TFRecord files.
        output: folder to write.
        media: shape of the decoded media.
        min_examples_per_class: labels with fewer items are left out of the vocabulary.
        share: of the items, by hash of item_id, that are analysed.
    """

    pattern: str
    output: str
    media: MediaShape
    min_examples_per_class: int
    share: float

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> beam.pvalue.PDone:
        """Reads Arrow batches, analyses them in one pass, writes the graph."""
        spec = {name: FEATURE_SPEC[name] for name in _INPUTS}
        schema = schema_utils.schema_from_feature_spec({**spec, "item_id": FEATURE_SPEC["item_id"]})
        source = tfxio.TFExampleRecord(file_pattern=self.pattern, schema=schema, telemetry_descriptors=["ruiji"])
        batches = pipeline | "ReadExamples" >> source.BeamSource(batch_size=analyzed_batch(self.media))
        if self.share < 1.0:
            batches = batches | "Sample" >> beam.Map(keep_share, self.share)
        narrow = source.Project(list(_INPUTS))
        batches = batches | "Narrow" >> beam.Map(select_columns, narrow.ArrowSchema().names)
        preprocessing_fn = make_preprocessing_fn(self.media, self.min_examples_per_class)
        analysed = (batches, narrow.TensorAdapterConfig()) | "Analyze" >> tft_beam.AnalyzeDataset(preprocessing_fn)
        return analysed | "WriteTransform" >> tft_beam.WriteTransformFn(self.output)


def analyzed_batch(media: MediaShape) -> int:
    """Examples that are analysed at once: a megabyte or so of media, whose features take some ten times that."""
    return max(8, min(1000, 2**20 // media.item_bytes))


def select_columns(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    """The columns in the order of `names`."""
    return batch.select(names)


def keep_share(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """The rows whose hash of item_id falls under `share`."""
    limit = int(share * 2**64)
    ids = batch.column("item_id").to_pylist()
    kept = [row for row, values in enumerate(ids) if _hash(values[0]) < limit]
    return batch.take(pa.array(kept, pa.int32()))


def _hash(item_id: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"analyze:" + item_id).digest()[:8], "big")
