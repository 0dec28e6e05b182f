"""How far a catalog has moved from what the model in use was trained on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sim_transforms.errors import Drifted, RuijiError, one_line
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.records.statistics import DataStatistics, Drift, drift_between
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest, load_manifest


@dataclass(frozen=True)
class InUse:
    """The version that LATEST names, and the statistics of what its model was trained on."""

    version: str
    statistics: DataStatistics


def drift_base(store: str, model: Path, max_drift: float | None) -> InUse | str:
    """What there is to compare with, or why there is nothing; asked before the work.

    Args:
        store: of the published versions.
        model: folder of the working directory's model.
        max_drift: largest drift that is allowed, null for any.

    Raises:
        RuijiError: the store cannot be read, or the model, and there is a bound to hold.
    """
    try:
        return _in_use(store, model)
    except RuijiError as error:
        if max_drift is not None:
            raise
        return one_line(error)


def _in_use(store: str, model: Path) -> InUse | str:
    opened = open_store(store)
    version = latest(opened)
    if version is None:
        return "no version is published yet"
    published = load_manifest(opened, version).model
    if not (model / "manifest.json").is_file():
        return f"the model of version {version} is not here"
    known = ModelManifest.load(model)
    if known.fingerprint != published:
        return f"version {version} is of another model than {model}"
    if known.statistics is None:
        return f"the model of version {version} tells no statistics of its examples"
    return InUse(version, known.statistics)


def check_drift(
    before: InUse | str, now: DataStatistics, max_drift: float | None, notify: Callable[[str], None]
) -> dict[str, Any] | None:
    """Tells how far the examples have moved from those of the model in use; null where there is nothing to compare.

    Args:
        before: as `drift_base` gives it.
        now: statistics of the new examples.
        max_drift: largest that is allowed, null for any.
        notify: is told of it.

    Raises:
        Drifted: it is more.
    """
    if isinstance(before, str):
        notify(f"drift: not compared, {before}")
        return None
    found = drift_between(before.statistics, now)
    if found is None:
        notify(f"drift: not compared, the model of version {before.version} is of media of another kind")
        return None
    told = f"labels {found.labels:.3f}, mean {found.mean:.3f}, deviation {found.deviation:.3f}"
    notify(f"drift from version {before.version}: {told}")
    if max_drift is not None and found.largest > max_drift:
        raise Drifted(_refusal(before.version, found, max_drift, told))
    return {"version": before.version, **{name: round(value, 6) for name, value in asdict(found).items()}}


def _refusal(version: str, found: Drift, max_drift: float, told: str) -> str:
    return (
        f"the catalog has moved {found.largest:.3f} from what the model of version {version} was trained on, above "
        f"preprocess.max_drift {max_drift:g} ({told}); the examples in use stay. Look at the new items, or raise the "
        "bound and train anew"
    )
