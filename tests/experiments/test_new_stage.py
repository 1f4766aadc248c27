"""A scheme that kdzoo does not have: one stage type, written here, and nothing else."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tiny_experiments import TEACHER

import kdzoo
from kdzoo.experiments import (
    Dependency,
    Experiment,
    Outcome,
    Stage,
    Train,
    Training,
    build_and_fit,
    register,
)
from kdzoo.experiments import estimate as estimates
from kdzoo.experiments.engine import load_data
from kdzoo.experiments.measure_model import measure

OUTCOME = None  # What the stage `Ready` returns, which tests set.

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

    def run(self, context):
        """Learns the mean of the teachers' logits."""
        keras.utils.set_random_seed(context.seed)
        name, arguments = context.built
        model = kdzoo.create(name, context.data.classes, context.data.input_shape, **arguments)
        images = context.data.train.arrays()[0]
        logits = [teacher.predict(images, verbose=0) for teacher in context.all_sources("teachers")]
        model.compile("adam", "mse")
        mean = np.mean(logits, 0)
        history = kdzoo.schemes.train(
            model,
            lambda epoch: Rows(images, mean),
            self.rounds,
            context.directory,
            **context.options,
        )
        file = context.directory / "labels.txt"
        file.write_text("\n".join(context.data.class_names))
        products = {"model": model, "again": model, "mean": mean, "labels.txt": file}
        return Outcome(products, measure(model, context.data), history)


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


@pytest.mark.large
def test_it_goes_on_after_a_kill_and_ends_as_an_undisturbed_run(finished, tmp_path):
    with pytest.raises(Kill):
        RECIPE.run(tmp_path, verbose=0, callbacks=[KillInEpoch()])
    kept = sorted(path.name for path in (tmp_path / "copy-0").iterdir())
    assert kept == ["epoch-0001", "seconds.json"]  # No product, as it had none yet.
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


@register
@dataclasses.dataclass(frozen=True)
class Ready(Stage):
    """A stage that trains nothing and yields whatever it is told."""

    @property
    def title(self):
        """What it is."""
        return "ready"

    def built_from(self, sources):
        """Returns what its model is built from."""
        return ("mlp_2x64", {})

    def run(self, context):
        """Returns the outcome that the test wants."""
        model = build_and_fit.create_seeded(context, "float32")
        return OUTCOME(model, context)


@register
@dataclasses.dataclass(frozen=True)
class Reader(Ready):
    """A stage that reads the products of another."""

    of: Dependency


@dataclasses.dataclass(frozen=True)
class Mixture(Ready):
    """A stage that learns from several others, each with a weight."""

    teachers: tuple
    more: object = None

    def built_from(self, sources):
        """Returns what its first teacher is built from."""
        return sources["teachers"][0]


register(Mixture)
A, B = Dependency("a"), Dependency("b", "all")


def mixed(*teachers, **settings):
    """An experiment whose stage depends on these."""
    stages = (Ready("a"), Train("b", "mlp_2x64", Training(1)), Mixture("c", teachers, **settings))
    return Experiment("mixed", "digits", stages, seeds=(0, 1))


def test_a_stage_depends_on_what_stands_in_its_tuples():
    recipe = mixed(A, B)
    assert recipe.stage("c").dependencies() == {"teachers": (A, B)}
    sources = [tuple(node)[1:] for node in recipe.sources("c", 0)["teachers"]]
    assert sources == [("a", 0), ("b", 0), ("b", 1)]
    order = [tuple(node)[1:] for node in recipe.needed(["c"])]
    assert order == [*sources, ("c", 0), ("a", 1), ("c", 1)]
    assert recipe.built_from("c") == ("mlp_2x64", {})
    recipe.check()
    load_data(recipe)
    weighted = mixed((A, 0.25), [B, 0.75])
    assert weighted.sources("c", 0) == recipe.sources("c", 0)
    # Other teachers, another order, other weights are another run; a name alone is not.
    others = [recipe, mixed(B, A), mixed(A), weighted, mixed((A, 0.5), [B, 0.75])]
    assert len({other.identity("c", 0) for other in others}) == len(others)
    longer = dataclasses.replace(recipe.stage("b"), training=Training(2))
    changed = dataclasses.replace(recipe, stages=(*recipe.stages[::2], longer))
    assert changed.identity("c", 0) != recipe.identity("c", 0)
    stages = (dataclasses.replace(recipe.stage("a"), name="d"), *recipe.stages[1:2])
    renamed = (*stages, Mixture("c", (Dependency("d"), B)))
    assert dataclasses.replace(recipe, stages=renamed).identity("c", 0) == recipe.identity("c", 0)


@pytest.mark.parametrize(
    "hidden", [{"a": A}, {A: 1}, ({"a": [A]},), {A}, Reader("x", A), (Reader("x", A),)]
)
def test_a_dependency_that_is_hidden_is_refused(hidden):
    recipe = mixed(A, more=hidden)
    mixed(A, more=Ready("x")).check()
    with pytest.raises(ValueError, match=r"as a field or in its tuples.* within more="):
        recipe.check()


def test_what_stands_in_tuples_is_checked():
    with pytest.raises(ValueError, match="Did you mean 'a'"):
        mixed(Dependency("aa")).check()
    with pytest.raises(ValueError, match="seed of teachers"):
        mixed(Dependency("a", -1)).check()


@pytest.mark.parametrize(
    "name", ["kind", "seed", "type", "data", "enlarge", "validation", "split_by_seed"]
)
def test_a_setting_does_not_overwrite_what_identifies_a_stage(name):
    made = dataclasses.make_dataclass("Own", [(name, int, 0)], bases=(Stage,), frozen=True)
    with pytest.raises(ValueError, match=f"which identify a stage. Received: '{name}' of Own"):
        register(made)


def test_a_stage_type_is_registered_once():
    with pytest.raises(ValueError, match=r"no other stage type has\. Received: 'CopyTeacher'"):
        register(type("CopyTeacher", (Stage,), {}))


READY = Experiment("ready", "digits", (Ready("ready"),), seeds=(0,))
READING = dataclasses.replace(READY, stages=(Ready("ready"), Reader("reader", Dependency("ready"))))
GOOD = {"test_accuracy": 0.5}


@pytest.mark.parametrize(
    ("outcome", "complaint"),
    [
        (lambda model: None, "Expected an Outcome of 'ready'"),
        (lambda model: Outcome({}, GOOD), "Expected a keras.Model as the product 'model'"),
        (lambda model: Outcome({"model": np.ones(2)}, GOOD), "Expected a keras.Model"),
        (lambda model: Outcome({"other": model}, GOOD), "Expected a keras.Model"),
        (lambda model: Outcome([model], GOOD), "Expected products as a dictionary"),
        (lambda model: Outcome({"model": model, "a": 5}, GOOD), "an array or the path .* 'a'"),
        (lambda model: Outcome({"model": model, "a": "/etc/hosts"}, GOOD), "the path of"),
        (lambda model: Outcome({"model": model, "../a": np.ones(2)}, GOOD), "names that files"),
        (lambda model: Outcome({"model": model, "result.json": "a"}, GOOD), "names that files"),
        (lambda model: Outcome({"model": model, "a": np.array([{}])}, GOOD), "arrays of numbers"),
        (lambda model: Outcome({"model": model}, {}), "test_accuracy=None"),
        (lambda model: Outcome({"model": model}, {"test_accuracy": "high"}), "test_accuracy='hi"),
        (lambda model: Outcome({"model": model}, {"test_accuracy": 50.0}), "test_accuracy=50"),
        (lambda model: Outcome({"model": model}, {**GOOD, "kind": "x"}), "Received: 'kind'"),
        (lambda model: Outcome({"model": model}, {**GOOD, "weights": "x"}), "Received: 'weights'"),
        (lambda model: Outcome({"model": model}, {**GOOD, "bytes": "x"}), "bytes='x'"),
        (lambda model: Outcome({"model": model}, {**GOOD, "x": object()}), "JSON can hold"),
        (lambda model: Outcome({"model": model}, GOOD, {"loss": 5}), "history of loss"),
        (lambda model: Outcome({"model": model}, GOOD, {"loss": ["low"]}), "history of loss"),
    ],
)
def test_an_outcome_is_checked_before_anything_is_written(
    outcome, complaint, tmp_path, monkeypatch
):
    monkeypatch.setitem(globals(), "OUTCOME", lambda model, context: outcome(model))
    with pytest.raises(ValueError, match=complaint):
        READY.run(tmp_path, verbose=0)
    assert not list(tmp_path.glob("ready-0/*"))


@pytest.fixture
def read(monkeypatch):
    """What the reader found of each product, by name; filled when it runs."""
    found = {}

    def outcome(model, context):
        products = {"model": model}
        if context.sources:
            for name in ("model", "array", "second", "file.txt"):
                found[name] = context.product("of", name)
            assert context.all_products("of", "array") == [found["array"]]
            with pytest.raises(ValueError, match="Unknown product of 'ready': 'aray'"):
                context.product("of", "aray")
        else:
            file = context.directory / "file.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("text")
            products |= {"array": np.arange(3), "second": model, "file.txt": file}
        history = {"loss": [np.float32(1.5), None, float("nan")]}
        return Outcome(products, {"test_accuracy": np.float32(0.5), "more": np.int64(3)}, history)

    monkeypatch.setitem(globals(), "OUTCOME", outcome)
    return found


def test_a_stage_reaches_the_products_of_another(read, tmp_path):
    rows = READING.run(tmp_path, verbose=0)["rows"]
    assert {name: path.name for name, path in read.items()} == {
        "model": "model.keras",
        "array": "array.npy",
        "second": "second.keras",
        "file.txt": "file.txt",
    }
    assert np.load(read["array"]).tolist() == [0, 1, 2]
    assert rows[0]["products"].keys() == {"array", "second", "file.txt"}
    assert (rows[0]["test_accuracy"], rows[0]["more"]) == (0.5, 3)
    assert READING.run(tmp_path, verbose=0)["rows"][1] == rows[1]


@pytest.mark.parametrize(
    ("file", "is_gone"), [("array.npy", False), ("file.txt", True), ("second.keras", False)]
)
def test_a_damaged_product_is_named_before_anything_is_made_of_it(file, is_gone, read, tmp_path):
    READING.run(tmp_path, verbose=0, stages=["ready"])
    path = tmp_path / "ready-0" / file
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-90] + b"x")
    reason = "no such file" if is_gone else "(another or )?a damaged file"
    with pytest.raises(ValueError, match=rf"{file} as the training left it. Received: {reason}"):
        READING.run(tmp_path, verbose=0)
    assert not read
