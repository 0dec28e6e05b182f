"""What the index job reads: an `embeddings/` artefact, or anyone's files of vectors."""

from dataclasses import dataclass, replace
from pathlib import Path

from sim_transforms.errors import UsageError
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.manifests import EmbeddingsManifest, holds_embeddings
from sim_transforms.records.vectors import VectorSource
from sim_transforms.storage.vector_files import plan_parquet, plan_vectors


@dataclass(frozen=True)
class IndexInput:
    """Vectors to index.

    Attributes:
        source: where they lie.
        manifest: their description; of foreign vectors without `catalog_digest` until they have been read.
        is_foreign: whether they were made elsewhere: no model is known, and their ids have still to be checked.
    """

    source: VectorSource
    manifest: EmbeddingsManifest
    is_foreign: bool

    @property
    def ids_may_repeat(self) -> bool:
        """Whether ids have to be checked: those of an artefact are unique, and so are row numbers."""
        numbered = all(piece.path.endswith(".npy") and not piece.ids for piece in self.source.pieces)
        return self.is_foreign and not numbered

    def with_digest(self, digest: str) -> EmbeddingsManifest:
        """The description once the content is known."""
        return replace(self.manifest, catalog_digest=digest) if self.is_foreign else self.manifest


def open_embeddings(path: Path, ids: Path | None, space: str) -> IndexInput:
    """Looks at vectors before launch.

    Args:
        path: an artefact's folder, a folder of Parquet files, or a .parquet or .npy file.
        ids: one id a line, for .npy.
        space: of the index.

    Raises:
        UsageError: they cannot be used.
        DamagedArtefact: the artefact's manifest cannot be read.
    """
    if holds_embeddings(path):
        if ids is not None:
            raise UsageError(f"--ids {ids}: only an .npy file takes its ids from a text file; {path} is none")
        manifest = EmbeddingsManifest.load(path)
        source = plan_parquet([path / entry.name for entry in manifest.files], manifest.dimension)
        return IndexInput(source, manifest, is_foreign=False)
    source = plan_vectors(path, ids)
    totals = LedgerTotals(source.items, source.items, 0, 0)
    described = EmbeddingsManifest(
        items=source.items,
        dimension=source.dimension,
        space=space,
        model="",
        catalog_digest="",
        metadata_columns=source.metadata_columns,
        inferences=0,
        ledger=totals,
        files=(),
    )
    return IndexInput(source, described, is_foreign=True)
