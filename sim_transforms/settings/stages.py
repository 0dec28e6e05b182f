"""The configuration as dataclasses: every key, its default, its unit and what it may be.

`__post_init__` raises ValueError("<key>: <what is allowed>"); the loader adds file, key and what was found.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from sim_transforms.settings.checks import at_least, share
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.settings.training import TrainSettings


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Where the items come from.

    Attributes:
        source: `builtin:digits`, a .csv, .parquet or .jsonl file, or a folder with one sub-folder a class.
        allow_outside: whether relative uris may leave the catalog's folder.
    """

    source: str
    allow_outside: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What every picture is decoded to: [height, width, channels] uint8.

    Attributes:
        resize: stretch, fit (the whole picture, background beside it) or fill (its middle, two sides cut).
        filter: with which it is resized, antialiased when it shrinks.
        background: red, green and blue, 0 to 255, of what shows through transparency and beside a fitted picture.
        max_pixels: a file that declares more is rejected before it is decoded.
        min_side: so is one whose shorter side has fewer pixels.
        max_aspect: and one whose longer side is more than so many times the shorter; null for any.
    """

    kind: Literal["image"] = "image"
    height: int = 16
    width: int = 16
    channels: Literal[1, 3] = 1
    resize: Literal["stretch", "fit", "fill"] = "stretch"
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    background: tuple[int, ...] = (255, 255, 255)
    max_pixels: int = 50_000_000
    min_side: int = 1
    max_aspect: float | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            at_least(name, getattr(self, name), 4)
        for name in ("max_pixels", "min_side"):
            at_least(name, getattr(self, name), 1)
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise ValueError("background: three numbers from 0 to 255 are expected")
        if self.max_aspect is not None:
            at_least("max_aspect", self.max_aspect, 1)


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """What every sound is decoded to: clips of [samples] int16, one channel; and the features that are made of them.

    Attributes:
        sample_rate: Hz.
        seconds: of a clip; each is an item of its own, `<item_id>#<start in seconds>`.
        hop_seconds: from the beginning of a clip to the next one's.
        min_seconds: a shorter sound is rejected, a longer one of less than a clip is filled up with silence.
        max_seconds: a longer sound is rejected.
        silence_db: clips whose root mean square is below, in dB of full scale, are skipped; null keeps all.
        window: samples of a spectrum; step: samples from one to the next.
        mel_bands: bands, of equal width on the mel scale, from min_hz to max_hz (null: half the sample rate).
        top_db: what is so far below the loudest value of a clip counts as silence.
    """

    kind: Literal["audio"] = "audio"
    sample_rate: int = 22_050
    seconds: float = 5.0
    hop_seconds: float = 5.0
    min_seconds: float = 0.5
    max_seconds: float = 3600.0
    silence_db: float | None = -60.0
    window: int = 1024
    step: int = 512
    mel_bands: int = 64
    min_hz: float = 50.0
    max_hz: float | None = None
    top_db: float = 80.0

    def __post_init__(self) -> None:
        at_least("sample_rate", self.sample_rate, 1000)
        at_least("window", self.window, 64)
        at_least("step", self.step, 16)
        at_least("mel_bands", self.mel_bands, 4)
        if self.mel_bands > self.window // 8:
            raise ValueError(f"mel_bands: at most an eighth of media.window is expected, here {self.window // 8}")
        for name in ("hop_seconds", "min_seconds", "top_db"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: a number above 0 is expected")
        if round(self.seconds * self.sample_rate) < self.window + 3 * self.step:
            raise ValueError("seconds: a clip of at least 4 spectra (media.window, media.step) is expected")
        if self.max_seconds < self.seconds:
            raise ValueError("max_seconds: at least media.seconds is expected")
        if self.silence_db is not None and self.silence_db > 0:
            raise ValueError("silence_db: null, or at most 0 (full scale) is expected")
        if not 0.0 <= self.min_hz < self.top_hz <= self.sample_rate / 2:
            raise ValueError("max_hz: min_hz below max_hz, and at most half of media.sample_rate is expected")

    @property
    def top_hz(self) -> float:
        """The highest frequency of the bands."""
        return self.sample_rate / 2 if self.max_hz is None else self.max_hz


MediaSettings = ImageSettings | SoundSettings


@dataclass(frozen=True, kw_only=True)
class PreprocessSettings:
    """Attributes:
    max_reject_share: above this share of rejected items the job fails.
    analyze_share: share of items, by hash, that TensorFlow Transform analyses.
    min_examples_per_class: labels with fewer items are left out of the vocabulary.
    shards: number of TFRecord files, or auto.
    compression: of each record of the TFRecord files: none, or gzip, which pays for drawings and text.
    max_drift: the job fails where the catalog is further from what the model in use was trained on (`Drift.largest`);
        null only tells how far.
    decode_seconds: in which a file must be read and decoded, or it is rejected.
    decode_memory_mib: that the process may hold in which files are decoded; a file that takes more is rejected.
    """

    max_reject_share: float = 0.05
    analyze_share: float = 1.0
    min_examples_per_class: int = 1
    shards: int | Literal["auto"] = "auto"
    compression: Literal["none", "gzip"] = "none"
    max_drift: float | None = None
    decode_seconds: float = 20.0
    decode_memory_mib: int = 1024

    def __post_init__(self) -> None:
        at_least("decode_memory_mib", self.decode_memory_mib, 128)
        if self.decode_seconds <= 0:
            raise ValueError("decode_seconds: a number above 0 is expected")
        share("max_reject_share", self.max_reject_share)
        if self.max_drift is not None and self.max_drift <= 0:
            raise ValueError("max_drift: null or a number above 0 is expected")
        if not 0.0 < self.analyze_share <= 1.0:
            raise ValueError("analyze_share: a share above 0 and up to 1 is expected")
        at_least("min_examples_per_class", self.min_examples_per_class, 1)
        if self.shards != "auto":
            at_least("shards", self.shards, 1)


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """How the index is built.

    Attributes:
        space: cosine (unit vectors), l2 or inner_product.
        layout: merged (one file, searched in memory), or routed (a file a shard, opened as queries need them, for
            catalogs larger than one machine's memory; nothing is linked or merged).
        shard_items: cap on the items of a shard; bounds the memory of a worker.
        shards: number of shards instead (the cap is then 1.25 n / shards).
        builder: of a shard: `products` (exact candidates by matrix products), `insertion` (NMSLIB's own), or `auto`:
            insertion for inner_product, products else.
        neighbor_shards: further shards in which each item is searched for links.
        m, ef_construction: of HNSW (Malkov & Yashunin 2018); layer 0 holds up to 2 m links.
        recall_target: ef_search is chosen for it, and a version that misses it is refused.
        upper_items: most items of level >= 1 (about n / m) for the one worker of the upper layers; a merged index of
            more is refused.
        recall_queries: items sampled to measure recall.
        page_items: a version of at most so many items holds a page to browse it, `page/index.html`, which shows every
            item's id, metadata and small picture to whoever may read the store; 0: none does.
    """

    space: Literal["cosine", "l2", "inner_product"] = "cosine"
    layout: Literal["merged", "routed"] = "merged"
    shard_items: int = 25_000
    shards: int | None = None
    builder: Literal["auto", "products", "insertion"] = "auto"
    neighbor_shards: int = 2
    m: int = 16
    ef_construction: int = 100
    recall_target: float = 0.95
    recall_queries: int = 1000
    upper_items: int = 2_000_000
    page_items: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("shard_items", self.shard_items, 16)
        if self.shards is not None:
            at_least("shards", self.shards, 1)
        at_least("neighbor_shards", self.neighbor_shards, 0)
        for name, high in (("m", 100), ("ef_construction", 4000)):
            if not 2 <= getattr(self, name) <= high:
                raise ValueError(f"{name}: from 2 to {high} is expected")
        if not 0.0 < self.recall_target <= 1.0:
            raise ValueError("recall_target: a share above 0 and up to 1 is expected")
        at_least("recall_queries", self.recall_queries, 10)
        at_least("page_items", self.page_items, 0)

    def wants_page(self, items: int) -> bool:
        """Whether a version of so many items holds a page."""
        return self.page_items > 0 and items <= self.page_items


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a version of `index.layout: routed` is searched, when its recall is measured and by `ruiji search`.

    Attributes:
        probe: shards in which each query is searched, those whose centroids are nearest.
        memory_budget_mib: MiB of shard files that are open at once, or null for no limit; at least the largest file.
            What is open takes 10 to 17 % more memory than its files.
    """

    probe: int = 4
    memory_budget_mib: int | None = None

    def __post_init__(self) -> None:
        at_least("probe", self.probe, 1)
        if self.memory_budget_mib is not None:
            at_least("memory_budget_mib", self.memory_budget_mib, 1)


@dataclass(frozen=True, kw_only=True)
class ReindexSettings:
    """How a published version is brought up to date.

    Attributes:
        rebuild_above: the index is built anew when added, changed and removed items since the last build pass this
            share of all; else it is patched. 0: always built anew.
    """

    rebuild_above: float = 0.3

    def __post_init__(self) -> None:
        share("rebuild_above", self.rebuild_above)


@dataclass(frozen=True, kw_only=True)
class VersionsSettings:
    """What `ruiji versions gc` leaves of the published versions, beside LATEST and what readers hold.

    Attributes:
        keep: the youngest versions stay, so many.
        min_age_hours: nothing younger is removed; longer than any upload takes.
    """

    keep: int = 5
    min_age_hours: float = 24.0

    def __post_init__(self) -> None:
        at_least("keep", self.keep, 1)
        at_least("min_age_hours", self.min_age_hours, 0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One configuration file.

    Attributes:
        workdir: folder of the artefacts; `work/<name>` where not given.
        store: where versions are published; `<workdir>/store` where not given.
        beam: pipeline options by their flag names without dashes, and ours: `shared_filesystem`, `embed_accelerator`.
    """

    name: str
    catalog: CatalogSettings
    workdir: str = ""
    store: str = ""
    media: MediaSettings = field(default_factory=ImageSettings)
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    reindex: ReindexSettings = field(default_factory=ReindexSettings)
    versions: VersionsSettings = field(default_factory=VersionsSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    beam: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise ValueError("name: letters, digits, '-', '_' and '.' are expected")
        object.__setattr__(self, "workdir", self.workdir or f"work/{self.name}")
        object.__setattr__(self, "store", self.store or f"{self.workdir}/store")
