"""What the commands make of experiments whose stages have not all fields that kdzoo's have."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_experiments import STUDENT, TINY, with_stages

from kdzoo.cli import result_tables
from kdzoo.cli.train_options import changed
from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Pretrained,
    Stage,
    Train,
    Training,
    register,
    retraining,
)
from kdzoo.schemes import train

ROWS = [{"kind": "own", "seed": seed, "test_accuracy": 0.5} for seed in (0, 1)]
RESULTS = {
    "settings": {"stages": [{"name": "own", "type": "Own"}], "paper": {"own": 5}},
    "summary": {"own": {"mean": 0.5, "std": 0.0, "median_seed": 0}},
    "rows": ROWS,
}


@pytest.mark.parametrize("seconds", [{}, {"seconds": None}, {"seconds": 2.0}])
@pytest.mark.parametrize("table", [result_tables.of_comparison, result_tables.of_compressions])
def test_what_a_row_does_not_say_is_left_empty(table, seconds):
    shown = table({**RESULTS, "rows": [{**row, **seconds} for row in ROWS]})
    cells = [next(iter(column.cells)) for column in shown.columns]
    assert "50.0" in cells[1]
    assert cells[-1] == ("2.0" if seconds.get("seconds") else "")
    assert [cell for cell in cells[2:-1] if cell] in ([], ["5"])  # What the paper reports.


@register
@dataclasses.dataclass(frozen=True)
class Bare(Stage):
    """A stage type with no setting."""


def test_options_change_the_stages_that_have_such_a_setting():
    stages = (Bare("bare"), Train("alone", *STUDENT), Distill("distilled", *STUDENT))
    recipe = with_stages(*stages)
    given = {"epochs": 7, "student": "mlp_2x128", "student_loss_weight": 0.5, "temperature": 2.0}
    after = changed(recipe, {**given, "views": 3})
    assert after.stage("bare") == recipe.stage("bare")
    assert after.stage("alone") == Train("alone", "mlp_2x128", Training(7))
    assert (after.stage("distilled").views, after.stage("distilled").training.epochs) == (3, 7)
    assert changed(with_stages(Bare("bare")), {"epochs": 7}).stage("bare") == Bare("bare")
    taught = with_stages(Pretrained("teacher", "fitnet_mnist/mnist"), *TINY.stages[1:])
    after = changed(taught, {"batch_size": 64, "teacher_epochs": 3})
    assert after.stage("teacher") == taught.stage("teacher")
    assert after.stage("alone").training.batch_size == 64


def test_the_smoke_mode_of_compressing_is_that_of_any_training():
    training = retraining(5, augmentation={"cutout": 8})
    stage = Compress("half", Dependency("alone"), Compression(0.5, training=training))
    assert stage.smoke().compression.training == training.smoke() != training


class Preparing(keras.Model):
    """A user's own model, whose `prepare` has nothing to do with kdzoo's."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        """One layer."""
        return self.dense(inputs)

    def prepare(self, data):
        """Is not for kdzoo to call."""
        raise AssertionError


@pytest.mark.large_on_jax
def test_a_model_is_not_taken_for_a_distiller_by_the_name_of_a_method(tmp_path):
    x = np.ones((4, 2), "float32")
    data = [(x, x[:, :1])]

    class Batches(keras.utils.PyDataset):
        """One batch."""

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return data[index]

    for epochs in (1, 2):
        model = Preparing()
        model.compile("sgd", "mse")
        model(x)
        history = train(model, lambda epoch: Batches(), epochs, tmp_path, verbose=0)
        assert len(history["loss"]) == epochs
