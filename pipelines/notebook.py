"""Fit, index and look up pictures that are arrays, in a notebook: the stages of the commands, in a folder of its own.

    from pipelines.notebook import SimilarityModel

    model = SimilarityModel("work/try", train={"epochs": 5})
    model.fit(pictures, labels)
    model.index(others, ids=names)
    model.lookup(pictures[:3], k=5)

What it leaves is what the commands leave: `ruiji search --config work/try/index.yaml --item ID` asks the same version.
"""

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines._main import Main
from pipelines.run import Runner
from pipelines.stages import Stages
from sim_transforms.commands.pictures import Matches, PictureSearch, checked_pictures, picture_png
from sim_transforms.errors import NotFound, UsageError
from sim_transforms.records.manifests import Calibration, ModelManifest
from sim_transforms.runs.lock import workdir_lock
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

_FIT, _INDEX = "fit", "index"
_HERE = {"runner": "FnApiRunner", "direct_running_mode": "in_memory"}


class SimilarityModel:
    """A model and a published version of pictures, both made of arrays.

    Args:
        workdir: folder of everything that is made; what stands there from before is taken up.
        media, train, index: keys of the sections of a configuration; the sides and channels of pictures are those of
            the first ones where `media` does not say.
        beam: Beam's options; without any all work is done in this process.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        media: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        index: Mapping[str, Any] | None = None,
        beam: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes nothing yet."""
        self._folder = Path(workdir).absolute()
        self._media, self._train, self._indexed = dict(media or {}), dict(train or {}), dict(index or {})
        self._beam = dict(_HERE if beam is None else beam)
        self._asked: PictureSearch | None = None

    @property
    def model(self) -> Path:
        """Folder of the model, as `--model` takes it."""
        return self._folder / _FIT / "model"

    @property
    def store(self) -> str:
        """Of the published versions, as `--store` takes it."""
        return str(self._folder / _INDEX / "store")

    @property
    def calibration(self) -> Calibration | None:
        """The distance up to which an answer counts as one, found in `fit` (`train={"calibrate_precision": 0.9}`)."""
        return ModelManifest.load(self.model).calibration

    def fit(self, pictures: Array, labels: Sequence[object] | None = None) -> dict[str, float]:
        """Trains; pictures that the same folder has seen with the same settings are not trained on again.

        Args:
            pictures: [n, height, width] or [n, height, width, 1 or 3] from 0 to 255.
            labels: n of them; without any, views of a picture teach (`train={"loss": "none"}`).

        Returns:
            Metrics of the items kept for validation.

        Raises:
            UsageError: shapes or counts that do not go together.
            RuijiError: what `ruiji train` refuses, with what to do.
        """
        train = dict(self._train) if labels is not None else {"loss": "none", **self._train}
        runner = self._runner(_FIT, pictures, labels, None, {"train": train})
        with workdir_lock(self._folder / _FIT):
            runner.preprocess()
            found = runner.train().results["metrics"]
        self._close()
        metrics: dict[str, float] = found
        return metrics

    def index(self, pictures: Array, labels: Sequence[object] | None = None, ids: Sequence[str] | None = None) -> str:
        """Embeds pictures and publishes them as a version, in place of those that were indexed before.

        Args:
            pictures: of any size.
            labels: n of them, shown with what is found; they need not have been trained on.
            ids: n texts, each another; `0`, `1` ... where not given.

        Returns:
            The id of the version.

        Raises:
            NotFound: nothing was fitted in this folder.
            UsageError: shapes or counts that do not go together.
            RuijiError: what `ruiji index` refuses, with what to do.
        """
        if not (self.model / "manifest.json").is_file():
            raise NotFound(f"{self._folder}: there is no model yet; `fit` makes one")
        runner = self._runner(_INDEX, pictures, labels, ids, {"index": self._indexed, "train": self._train})
        with workdir_lock(self._folder / _INDEX):
            runner.preprocess()
            version: str = runner.index()[1].results["version"]
        self._close()
        return version

    def lookup(self, pictures: Array, k: int = 5, where: str | None = None) -> Matches:
        """The k nearest items of each picture, nearest first, of those that meet a condition on their metadata.

        Raises:
            NotFound: nothing is indexed yet.
            UsageError: shapes that are none of pictures, k below 1, no condition.
        """
        return self._search().lookup(pictures, k, where)

    def is_match(self, distance: float) -> bool:
        """Whether what is so far is near enough by the calibrated distance; always where `fit` found none."""
        calibration = self.calibration
        return calibration is None or distance <= calibration.max_distance

    def embed(self, pictures: Array) -> Array:
        """[n, d] float32 of unit length, as the items were embedded."""
        return self._search().embed(pictures)

    def visualize(self) -> Path:
        """Writes the page of the published version (`ruiji report`): pictures of neighbours, quality, projection."""
        main = self._main(_INDEX)
        stages = Stages(main, main.settings(), model=str(self.model))
        with workdir_lock(self._folder / _INDEX):
            runner = Runner(main, main.settings(), stages)
            evaluated = runner.evaluate().results
            runner.report(self._search().version.version, evaluated)
        return stages.report / "index.html"

    def _runner(
        self,
        name: str,
        pictures: Array,
        labels: Sequence[object] | None,
        ids: Sequence[str] | None,
        sections: Mapping[str, Any],
    ) -> Runner:
        values = checked_pictures(pictures)
        if name == _FIT:
            sides = {"height": values.shape[1], "width": values.shape[2], "channels": values.shape[3]}
            media = {"kind": "image", **sides, **self._media}
        else:
            media = yaml.safe_load((self._folder / f"{_FIT}.yaml").read_text())["media"]
        self._write_catalog(name, values, labels, ids)
        tree = {
            "name": name,
            "workdir": str(self._folder / name),
            "catalog": {"source": str(self._folder / f"{name}.media" / "catalog.csv")},
            "media": media,
            "beam": self._beam,
            **sections,
        }
        write_file(self._folder / f"{name}.yaml", yaml.safe_dump(tree, sort_keys=False).encode())
        main = self._main(name)
        settings = main.settings()
        return Runner(main, settings, Stages(main, settings, model=None if name == _FIT else str(self.model)))

    def _write_catalog(
        self, name: str, pictures: Array, labels: Sequence[object] | None, ids: Sequence[str] | None
    ) -> None:
        """Pictures by number beside a table of them; a file that would be the same is left as it is."""
        names = [str(place) for place in range(len(pictures))] if ids is None else list(map(str, ids))
        shown = ["" for _ in names] if labels is None else [str(label) for label in labels]
        if not len(pictures) == len(names) == len(shown):
            raise UsageError(f"{len(pictures)} pictures, {len(names)} ids and {len(shown)} labels: as many of each")
        folder = self._folder / f"{name}.media"
        folder.mkdir(parents=True, exist_ok=True)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["item_id", "uri", "label"])
        for place, (item_id, label, picture) in enumerate(zip(names, shown, pictures, strict=True)):
            path, data = folder / f"{place:08d}.png", picture_png(picture)
            if not path.is_file() or path.read_bytes() != data:
                write_file(path, data)
            writer.writerow([item_id, path.name, label])
        write_file(folder / "catalog.csv", table.getvalue().encode())

    def _main(self, name: str) -> Main:
        given = argparse.Namespace(
            config=str(self._folder / f"{name}.yaml"), set=(), workdir=None, json=False, command=name
        )
        return Main(given, [])

    def _search(self) -> PictureSearch:
        if self._asked is None:
            self._asked = PictureSearch(self.model, self.store)
        return self._asked

    def _close(self) -> None:
        if self._asked is not None:
            self._asked.close()
            self._asked = None
