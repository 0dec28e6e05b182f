"""From the settings to an objective."""

from sim_transforms.settings.training import TrainSettings
from trainer.self_supervised.barlow_twins import BarlowTwins
from trainer.self_supervised.byol import Byol
from trainer.self_supervised.objective import ViewObjective
from trainer.self_supervised.simclr import SimClr
from trainer.self_supervised.simsiam import SimSiam
from trainer.self_supervised.swav import Swav
from trainer.self_supervised.vicreg import VicReg


def make_objective(settings: TrainSettings) -> ViewObjective:
    """The objective of `train.self_supervised`, not built yet."""
    name = settings.self_supervised
    if name == "simclr":
        return SimClr(settings.temperature)
    if name == "swav":
        return Swav(settings.augment.local_crops)
    return {"simsiam": SimSiam, "byol": Byol, "barlow_twins": BarlowTwins, "vicreg": VicReg}[name]()
