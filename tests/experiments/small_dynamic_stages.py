"""Stages of exits and widths that take seconds, for tests of what they leave and of kills."""

from kdzoo.experiments import Dependency, FitThresholds, TrainExits, Training, TrainWidths

# Layers of 16 and 24 units: the digits have 64 numbers and 10 classes.
NET = ("mlp_2x64", Training(2, augmentation=None), {"hidden": (16, 24)})
EXITS = TrainExits("exits", *NET, at=("stage1",), student_loss_weight=0.6)
THRESHOLDS = FitThresholds("thresholds", Dependency("exits"), (0.9, 1.0), lost_accuracy=0.1)
WIDTHS = TrainWidths("widths", *NET, widths=(0.5, 1.0), calibration=2)
UNIVERSAL = TrainWidths(
    *("universal", "mlp_2x64", NET[1], {"hidden": (32, 32), "batch_norm": True}),
    widths=(0.25, 0.5, 0.75, 1.0),
    seeds=(0,),
    universal=True,
    middle_widths=1,
    calibration=3,
)
