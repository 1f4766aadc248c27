"""A scheme that kdzoo does not have: one stage type, written here, and nothing else."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tiny_experiments import TEACHER

import kdzoo
from kdzoo.experiments import Dependency, Experiment, Outcome, Stage, Train, Training, register
from kdzoo.experiments import estimate as estimates
from kdzoo.experiments.results import measure

pytestmark = pytest.mark.tensorflow


@register
@dataclasses.dataclass(frozen=True)
class CopyTeacher(Stage):
    """A network like its teachers learns to give their logits."""

    teachers: Dependency
    rounds: int = 3

    @property
    def title(self):
        """What it is."""
        return "copy"

    @property
    def epochs(self):
        """The epochs of its training."""
        return self.rounds

    def built_from(self, sources):
        """Returns what its teachers are built from."""
        return sources["teachers"]

    def run(self, work):
        """Learns the mean of the teachers' logits."""
        keras.utils.set_random_seed(work.seed)
        name, arguments = work.built
        model = kdzoo.create(name, work.data.classes, work.data.input_shape, **arguments)
        images = work.data.train.arrays()[0]
        logits = [teacher.predict(images, verbose=0) for teacher in work.all_sources("teachers")]
        model.compile("adam", "mse")
        mean = np.mean(logits, 0)
        history = kdzoo.schemes.train(
            model, lambda epoch: Rows(images, mean), self.rounds, work.directory, **work.options
        )
        return Outcome({"model": model}, measure(model, work.data), history)


class Rows(keras.utils.PyDataset):
    """Images and logits in batches, in their order."""

    def __init__(self, images, logits):
        super().__init__()
        self.images, self.logits = images, logits

    def __len__(self):
        return -(-len(self.images) // 128)

    def __getitem__(self, index):
        part = slice(index * 128, (index + 1) * 128)
        return self.images[part], self.logits[part]


RECIPE = Experiment(
    "copying",
    "digits",
    (
        TEACHER,
        Train("other", "mlp_2x64", Training(1)),
        CopyTeacher("copy", Dependency("teacher", 0)),
        CopyTeacher("copy of all", Dependency("other", "all"), seeds=(0,)),
    ),
    seeds=(0, 1),
)


class Kill(Exception):
    pass


class KillInEpoch(keras.callbacks.Callback):
    """Ends the process, as it were, in the second epoch of the first stage that has one."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 4):
            raise Kill


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run that nothing disturbed, and its results."""
    directory = tmp_path_factory.mktemp("copying")
    return directory, RECIPE.run(directory, verbose=0)


def test_it_appears_in_the_results(finished):
    directory, results = finished
    made = [(row["kind"], row["seed"]) for row in results["rows"]]
    assert made == [
        *[("teacher", 0), ("other", 0), ("copy", 0), ("copy of all", 0)],
        *[("other", 1), ("copy", 1)],
    ]
    assert list(results["summary"]) == ["teacher", "other", "copy", "copy of all"]
    assert [stage["type"] for stage in results["settings"]["stages"]][2:] == 2 * ["CopyTeacher"]
    rows = {(row["kind"], row["seed"]): row for row in results["rows"]}
    # It holds the hash of its teacher's weights, of several a list.
    assert rows["copy", 1]["teachers_weights"] == rows["teacher", 0]["weights"]
    others = [rows["other", seed]["weights"] for seed in (0, 1)]
    assert rows["copy of all", 0]["teachers_weights"] == others
    assert rows["copy", 0]["weights"] != rows["copy", 1]["weights"]
    assert len(rows["copy", 0]["history"]["loss"]) == 3
    assert json.loads((directory / "results.json").read_text()) == json.loads(json.dumps(results))


def test_it_goes_on_after_a_kill_and_ends_as_an_undisturbed_run(finished, tmp_path):
    with pytest.raises(Kill):
        RECIPE.run(tmp_path, verbose=0, callbacks=[KillInEpoch()])
    kept = sorted(path.name for path in (tmp_path / "copy-0").iterdir())
    assert kept == ["epoch-0001", "seconds.json"]
    again = RECIPE.run(tmp_path, verbose=0)
    for row, other in zip(again["rows"], finished[1]["rows"], strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    for path in tmp_path.glob("copy*/model.keras"):
        one, two = (
            keras.saving.load_model(home / path.relative_to(tmp_path))
            for home in (tmp_path, finished[0])
        )
        for ours, theirs in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_it_appears_in_the_estimate(finished, tmp_path):
    left = estimates.left(RECIPE, tmp_path / "copying")
    assert len(left) == 6
    assert estimates.left(RECIPE, finished[0]) == []
    more = dataclasses.replace(RECIPE, seeds=(0, 1, 2))
    left = estimates.left(more, finished[0], ["copy"])
    assert [tuple(node) for node in left] == [("copying", "copy", 2)]
    rows = [row for row in finished[1]["rows"] if row["kind"] == "copy"]
    mean = np.mean([row["seconds"] for row in rows])
    assert estimates.seconds(more, finished[0], left) == [pytest.approx(mean)]
    assert estimates.seconds(more, tmp_path / "none", left) == [None]


def test_another_setting_of_it_is_another_run(finished):
    stages = [
        dataclasses.replace(stage, rounds=4) if stage.name == "copy" else stage
        for stage in RECIPE.stages
    ]
    with pytest.raises(ValueError, match="copy-0 to hold a run of this recipe"):
        dataclasses.replace(RECIPE, stages=tuple(stages)).run(finished[0], verbose=0)


def test_a_stage_type_is_registered_once():
    with pytest.raises(ValueError, match=r"no other stage type has\. Received: 'CopyTeacher'"):
        register(type("CopyTeacher", (Stage,), {}))
