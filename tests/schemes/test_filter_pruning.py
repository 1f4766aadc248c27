"""`schemes.filter_pruning`: steps to a target, who teaches, and runs that are stopped."""

import keras
import numpy as np
import pytest
from small_schemes import CROSS_ENTROPY, StopIn, Stopped, assert_same, batches, net

import kdzoo
from kdzoo import schemes
from kdzoo.compression.filter_pruning import measured_latency
from kdzoo.schemes.pruning_steps import PruningSteps

OPTIONS = {
    **{"target_macs": 0.5, "steps": 2, "epochs": 2, "round_to": 1},
    **{"loss": CROSS_ENTROPY, "metrics": ["accuracy"], "verbose": 0, "optimizer": "sgd"},
}


def pruned(model, directory, **options):
    return schemes.filter_pruning(model, batches, directory, **{**OPTIONS, **options})


def width(model):
    return model.get_layer("features").units


@pytest.fixture(scope="module")
def unpruned():
    return net(16, 1)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.large)])
def test_a_run_that_is_stopped_goes_on(unpruned, tmp_path, steps):
    options = {"sparsity_epochs": 1, "steps": steps}
    before = unpruned.get_weights()
    widths = []
    watch = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: widths.append(width(watch.model.student))
    )
    whole, history = pruned(unpruned, tmp_path / "whole", callbacks=[watch], **options)
    assert widths == [16, *([8], [12, 8])[steps - 1]]  # In equal parts.
    assert history["stage"] == [1, 2, 2, 3, 3][: 1 + 2 * steps]
    assert len(history["accuracy"]) == 1 + 2 * steps
    half = kdzoo.evaluation.count_macs(unpruned) / 2
    assert 0.8 * half < kdzoo.evaluation.count_macs(whole) <= half
    assert whole.losses == []
    for old, now in zip(before, unpruned.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)

    with pytest.raises(Stopped):
        pruned(unpruned, tmp_path / "stopped", callbacks=[StopIn(2)], **options)
    again, history_again = pruned(unpruned, tmp_path / "stopped", **options)
    assert history == history_again
    assert_same([whole], [again])


@pytest.mark.large_on_jax
def test_what_a_killed_run_chose_stays_chosen(unpruned, tmp_path):
    """Also where the criterion, such as a measured latency, now says something else."""

    def first(group):
        return np.arange(group.size)

    def choose(group):
        return choose.by(group)

    choose.by = first
    with pytest.raises(Stopped):
        pruned(unpruned, tmp_path, importance=choose, callbacks=[StopIn(1)], teacher=None)
    choose.by = lambda group: -first(group)
    expected = unpruned.get_layer("features").get_weights()[0][:, 4:]
    weights = {}
    watch = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: weights.setdefault("first", width(watch.model))
    )
    smaller, _ = pruned(
        unpruned, tmp_path, importance=choose, callbacks=[watch], teacher=None, optimizer="sgd"
    )
    assert expected.shape[1] == 12
    # The first four of sixteen went, then the last four.
    kernel = smaller.get_layer("features").get_weights()[0]
    nearest = [
        int(np.abs(unpruned.get_layer("features").get_weights()[0].T - row).sum(1).argmin())
        for row in kernel.T
    ]
    assert nearest == list(range(4, 12))


def widths_of_steps(model, target, amount, steps, round_to=1):
    """The width after each step, without any training."""
    chosen = ("l2", "global", round_to, (), None, CROSS_ENTROPY, 0)
    pruning = PruningSteps(model, target, amount, steps, *chosen)
    found = []
    for step in range(1, steps + 1):
        plan = pruning.plan(model, step)
        model = model if plan is None else plan.smaller()
        found.append(width(model))
    return found


@pytest.mark.parametrize(("round_to", "expected"), [(1, [13, 11, 8]), (8, [16, 8, 8])])
def test_a_ratio_goes_in_equal_parts(unpruned, round_to, expected):
    """Rounded at each step, of all channels there were."""
    assert widths_of_steps(unpruned, "ratio", 0.5, 3, round_to) == expected


@pytest.fixture
def litert_of_one_ms_a_neuron(monkeypatch):
    """LiteRT's clock is replaced, and the backend that it needs is not checked."""
    times = {}

    def to_litert(model, path, **options):
        times[path] = float(width(model))

    def latency(path, **options):
        return kdzoo.evaluation.Latency(times[path], 0, 0, 1, 1, 1, "")

    monkeypatch.setattr(measured_latency, "to_litert", to_litert)
    monkeypatch.setattr(measured_latency, "latency", latency)
    monkeypatch.setattr(measured_latency, "check_exportable", lambda model: None)


@pytest.mark.usefixtures("litert_of_one_ms_a_neuron")
@pytest.mark.parametrize("target", [("target_latency", 0.5), ("target_latency_ms", 8.0)])
def test_a_latency_falls_in_equal_parts(unpruned, target):
    assert widths_of_steps(unpruned, *target, 2) == [12, 8]
    assert widths_of_steps(unpruned, *target, 3, 8) == [8, 8, 8]  # Reached at once.


@pytest.mark.usefixtures("litert_of_one_ms_a_neuron")
def test_a_latency_that_the_unpruned_model_has(unpruned, tmp_path):
    with pytest.raises(ValueError, match="target_latency_ms below the 16 ms"):
        pruned(unpruned, tmp_path, target_macs=None, target_latency_ms=16.0, teacher=None)


@pytest.mark.usefixtures("litert_of_one_ms_a_neuron")
def test_an_error_names_the_target_that_was_given(unpruned, tmp_path):
    said = r"target_latency=0\.5 with round_to=64, by which all stay"
    with pytest.raises(ValueError, match=said):
        pruned(unpruned, tmp_path, target_macs=None, target_latency=0.5, round_to=64)


def test_latency_needs_tensorflow_before_anything_is_trained(unpruned, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    options = {"target_macs": None, "sparsity_epochs": 1, "teacher": None}
    with pytest.raises(RuntimeError, match="Expected the TensorFlow backend"):
        pruned(unpruned, tmp_path, target_latency=0.5, **options)
    assert not [*tmp_path.iterdir()]


@pytest.mark.large_on_jax
def test_the_run_of_another_teacher_is_refused(unpruned, tmp_path):
    options = {"steps": 1, "epochs": 1}
    teachers = [net(5, seed, dropout=0) for seed in (2, 3)]
    _, history = pruned(unpruned, tmp_path, teacher=teachers[0], **options)
    with pytest.raises(ValueError, match="choose another directory"):
        pruned(unpruned, tmp_path, teacher=teachers[1], **options)
    assert pruned(unpruned, tmp_path, teacher=teachers[0], **options)[1] == history


@pytest.mark.large_on_jax
def test_groups_are_regularized_without_a_teacher_too(unpruned, tmp_path):
    options = {"sparsity_epochs": 1, "steps": 1, "epochs": 1, "teacher": None, "metrics": []}
    optimizer = keras.optimizers.SGD(0.0)
    weak, strong = (
        pruned(unpruned, tmp_path / f"{s}", sparsity=s, optimizer=optimizer, **options)[1]["loss"]
        for s in (1e-6, 1.0)
    )
    assert strong[0] > weak[0] + 0.1
    assert strong[1] == pytest.approx(weak[1], rel=1e-3)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("who", ["unpruned", "another", "nobody"])
def test_who_teaches(tmp_path, who):
    """The loss of the first epoch is that of a `Distiller` made by hand."""
    model, other = net(16, 1, dropout=0), net(5, 2, dropout=0)
    given = {"unpruned": "unpruned", "another": other, "nobody": None}[who]
    optimizer, weight = keras.optimizers.SGD(0.0), {"student_loss_weight": 0.25}
    options = {"optimizer": optimizer, "steps": 1, "epochs": 1, **weight}
    smaller, history = pruned(model, tmp_path, teacher=given, **options)
    trained, _ = kdzoo.compression.prune_filters(
        model, target_macs=0.5, importance="group_l2", round_to=1
    )
    np.testing.assert_array_equal(smaller.get_weights()[0], trained.get_weights()[0])
    if who != "nobody":
        teacher = model if who == "unpruned" else other
        trained = kdzoo.Distiller(teacher, trained, kdzoo.losses.SoftTargets(4.0), **weight)
    trained.compile(keras.optimizers.SGD(0.0), CROSS_ENTROPY)
    expected = trained.fit(batches(0), epochs=1, verbose=0).history["loss"]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_parameters": 0.5}, "exactly one of ratio, target_macs, target_parameters"),
        ({"target_macs": None, "ratio": 0.01, "round_to": 8}, "ratio=0.01 with round_to=8"),
        ({"target_macs": None, "ratio": 1.0}, r"ratio to lie in \(0, 1\)"),
        ({"target_macs": 0.01}, "target_macs to be at least"),
        ({"steps": 0}, "steps to be a positive integer"),
        ({"epochs": 0}, "epochs to be a positive integer"),
        ({"importance": "l3"}, "Unknown importance"),
        ({"importance": "taylor"}, "data for importance='taylor'"),
        ({"teacher": "unprune"}, "teacher to be 'unpruned', 'recorded'"),
        ({"teacher": net(3, 1, classes=4)}, "4"),
        ({"ignored_layers": [keras.layers.Dense(2)]}, "a list of paths"),
        ({"loss": None, "teacher": None}, "loss"),
        ({"sparsity_epochs": 1, "sparsity": 0.0}, "sparsity to be above 0"),
        ({"sparsity_epochs": -1}, "sparsity_epochs"),
    ],
)
def test_wrong_arguments(unpruned, tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        pruned(unpruned, tmp_path, **change)
    assert not [*tmp_path.iterdir()]
