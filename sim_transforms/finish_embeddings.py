"""What the embed job leaves, closed: ledger checked, manifest written last."""

from collections.abc import Sequence
from pathlib import Path

from sim_transforms.records.codec import canonical_json
from sim_transforms.records.ledger import LedgerEntry, balance
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, ModelManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file


def finish_embeddings(
    folder: Path, entries: Sequence[LedgerEntry], examples: ExamplesManifest, model: ModelManifest
) -> EmbeddingsManifest:
    """Balances the ledger and writes `manifest.json`.

    Raises:
        LedgerError: an item of the examples has no vector.
    """
    totals = balance("embed", entries, expected_in=examples.items)
    names = sorted(path.name for path in folder.glob("embeddings-*.parquet"))
    manifest = EmbeddingsManifest(
        items=totals.items_out,
        dimension=model.embedding_size,
        space=model.space,
        model=model.fingerprint,
        catalog_digest=examples.catalog_digest,
        metadata_columns=examples.metadata_columns,
        inferences=totals.items_out,
        ledger=totals,
        clips=examples.media.clips,
        files=tuple(file_entry(folder, name) for name in names),
    )
    write_file(folder / "manifest.json", canonical_json(manifest).encode())
    return manifest
