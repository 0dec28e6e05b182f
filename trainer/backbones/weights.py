"""Pretrained weights: from a folder or a bucket to this machine, and from their file into a network, all or none.

A `.keras` file and a `.weights.h5` file hold the same tree: arrays by the classes and the order of the layers, such as
`layers/conv2d_3/vars/0`. What Keras would write for our network is therefore what is looked for in the file; the code
that a `.keras` file may bring along is never run.
"""

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

from sim_transforms.errors import UsageError, one_line
from sim_transforms.storage.cache import default_root
from sim_transforms.storage.open import open_store
from trainer.backbones.pooling import HEAD_BEGINS

_KEY = "train.backbone.weights"
_ENDINGS = (".keras", ".weights.h5")
# Of random numbers, not of what was learned.
_SEEDS = "seed_generator"


def fetch_weights(uri: str, root: Path | None = None) -> Path:
    """The file of a local path, or of gs:// by way of the cache folder, where each generation is kept once.

    Args:
        uri: a path, file:// or gs://BUCKET/NAME, that ends with .keras or .weights.h5.
        root: of the cache; null for the user's.

    Raises:
        UsageError: there is no such file, or it ends otherwise.
        StoreError: the bucket cannot be read.
    """
    if not uri.endswith(_ENDINGS):
        raise UsageError(f"{_KEY}: found {uri!r}; a file that ends with .keras or .weights.h5 is expected")
    if "://" not in uri or uri.startswith("file://"):
        path = Path(uri.removeprefix("file://"))
        if not path.is_file():
            raise UsageError(f"{_KEY}: there is no file {path}; put the weights there, or correct the path")
        return path
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    info = store.info(name)
    if info is None:
        raise UsageError(f"{_KEY}: there is no {uri}; upload the weights, or correct the address")
    key = hashlib.sha256(f"{uri} {info.generation} {info.size_bytes}".encode()).hexdigest()[:32]
    path = (root or default_root()) / "weights" / key / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(name, path)
        if store.info(name) != info:
            path.unlink()
            raise UsageError(f"{_KEY}: {uri} was replaced while it was fetched; run again")
    return path


def load_weights(model: keras.Model, path: Path, source: str, block: str) -> None:
    """Takes over the weights of a backbone; those of our head stay as they are.

    The file may hold a classifier or another head beside the backbone. It may be the backbone's alone, a whole model's,
    or one in which the backbone is a layer of its own.

    Args:
        model: a whole network of ours.
        path: of the file.
        source: as the user named it, for messages.
        block: expression of the names of a block's layers: more of them than the network has is another network.

    Raises:
        UsageError: the file cannot be read, or is of another network; the model is unchanged.
    """
    trunk = _trunk(model)
    with tempfile.TemporaryDirectory(prefix="ruiji-weights-") as folder, _opened(path, source) as found:
        wanted = Path(folder) / "wanted.weights.h5"
        trunk.save_weights(wanted)
        try:
            with h5py.File(wanted, "r+") as mine:
                _take_over(mine, found, source, block)
        except (OSError, RuntimeError, KeyError) as error:
            raise UsageError(
                f"{_KEY}: {source} is damaged and cannot be read ({one_line(error)}); fetch it again"
            ) from error
        trunk.load_weights(wanted)


def _take_over(mine: Any, found: Any, source: str, block: str) -> None:
    start = _start(_arrays(mine), _arrays(found))
    _check(mine, found, start, source)
    _check_rest(mine, found, start, source, block)
    for name in _arrays(mine):
        values = found[start + name][()]
        if not np.isfinite(values).all():
            raise UsageError(f"{_KEY}: {source} holds numbers that are not finite, in {name}; it was not trained well")
        mine[name][...] = values


def _trunk(model: keras.Model) -> keras.Model:
    """What stands before the head, of the same layers."""
    head = next(layer for layer in model.layers if layer.name in HEAD_BEGINS)
    return keras.Model(model.input, head.input)


@contextmanager
def _opened(path: Path, source: str) -> Iterator[Any]:
    """The tree of arrays in a file; raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="ruiji-weights-") as folder:
        try:
            if path.name.endswith(".keras"):
                with zipfile.ZipFile(path) as archive:
                    path = Path(archive.extract("model.weights.h5", folder))
            file = h5py.File(path, "r")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{_KEY}: {source} holds no weights of Keras 3 ({error}); write it anew with "
                "model.save('NAME.keras') or model.save_weights('NAME.weights.h5')"
            ) from error
        with file:
            yield file


def _arrays(file: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name; links are not followed."""
    found: dict[str, tuple[int, ...]] = {}

    def see(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and _SEEDS not in name:
            found[name] = tuple(node.shape)

    file.visititems(see)
    return found


def _start(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """Where the backbone is in a file: at its root, or below one of its layers; where most names are the same."""
    nested = {match[0] for name in found for match in re.finditer(r"^(?:layers/(?:functional|sequential)\w*/)+", name)}
    return max(["", *sorted(nested)], key=lambda start: sum(found.get(start + name) == wanted[name] for name in wanted))


def _check(mine: Any, found: Any, start: str, source: str) -> None:
    """Every weight is there with its shape, as floating point numbers; raises UsageError."""
    wanted, there = _arrays(mine), _arrays(found)
    missing = [name for name in wanted if start + name not in there]
    if missing:
        raise UsageError(
            f"{_KEY}: {source} is of another network: it lacks {len(missing)} of {len(wanted)} weights, the first "
            f"of them of layer {_layer(mine, missing[0])} ({missing[0]}, {wanted[missing[0]]})"
        )
    other = [name for name in wanted if there[start + name] != wanted[name]]
    if other:
        raise UsageError(
            f"{_KEY}: {source} is of another network: {len(other)} of {len(wanted)} weights have other shapes, the "
            f"first of them {there[start + other[0]]} in its layer {_layer(found, start + other[0])}; "
            f"{_layer(mine, other[0])} expects {wanted[other[0]]}"
        )
    strange = [name for name in wanted if found[start + name].dtype.kind != "f"]
    if strange:
        raise UsageError(
            f"{_KEY}: {source} holds {found[start + strange[0]].dtype} ({strange[0]}); floating point numbers of 16, "
            "32 or 64 bits are expected"
        )


def _check_rest(mine: Any, found: Any, start: str, source: str, block: str) -> None:
    """What the file holds beside is a head, not further blocks of a deeper network; raises UsageError."""
    wanted = {start + name for name in _arrays(mine)}
    layers = {_layer(found, name) for name in _arrays(found) if name.startswith(start) and name not in wanted}
    deeper = sorted(layer for layer in layers if re.match(block, layer))
    if deeper:
        raise UsageError(
            f"{_KEY}: {source} is of a deeper network: it has layers that are none of the backbone's, {deeper[0]} "
            "among them"
        )


def _layer(file: Any, name: str) -> str:
    """Name of the layer of an array, which newer files tell, or its place."""
    return str(file[name].parent.attrs.get("name", name.rpartition("/vars/")[0]))
