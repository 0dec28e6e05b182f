"""examples/ + model/ -> embeddings/: the first half of `ruiji index`.

ruiji index --config configs/digits.yaml
"""

from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines._job import Job
from pipelines._main import Progress, no_progress
from sim_transforms.embed_examples import EmbedExamples, embedding_hints
from sim_transforms.finish_embeddings import finish_embeddings
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.options import threads_of_worker
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, ModelManifest
from sim_transforms.runs.tally import watched


def embed(
    examples: Path, model: Path, output: Path, scratch: Path, options: PipelineOptions, progress: Progress | None = None
) -> EmbeddingsManifest:
    """Embeds every example into the empty folder `output`; `scratch` is empty too."""
    described = ExamplesManifest.load(examples)
    trained = ModelManifest.load(model)
    ledger, threads = str(scratch / "embed.rows"), threads_of_worker(options)
    hints = embedding_hints(options, model, described)
    show = partial(progress or no_progress, "embed")
    with watched(scratch / "tally", described.items, show) as tally, Job("embed", options) as pipeline:
        transform = EmbedExamples(
            str(examples), str(model), str(output), described, trained.embedding_size, threads, tally, hints
        )
        shards = pipeline | "Shards" >> beam.Create(range(described.shards))
        entries = shards | "EmbedExamples" >> transform
        entries | "HandBackLedger" >> HandBack(ledger)
    return finish_embeddings(output, read_rows(ledger), described, trained)
