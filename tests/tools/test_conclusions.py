"""What docs/results concludes from its tables holds of the numbers in them."""

import statistics

import numpy as np
import pytest

from kdzoo.zoo.manifest import read_manifest
from tools.docs_tables.content import results, variants
from tools.docs_tables.dynamic_tables import SCALED, at_a_quarter, curve, last_exit_by_place


def accuracies(recipe):
    """Variant -> accuracies on the test images, by seed."""
    rows = variants(results(recipe))
    return {name: [row["test_accuracy"] for row in found] for name, found in rows.items()}


def means(recipe):
    return {name: statistics.fmean(found) for name, found in accuracies(recipe).items()}


def test_distilling_wins_on_every_split_of_the_digits():
    found, images = accuracies("digits"), results("digits")["examples"]["test"]
    pairs = zip(found["alone"], found["distilled"], strict=True)
    gains = [round(images * (distilled - alone)) for alone, distilled in pairs]
    assert sorted(gains)[0] == 1
    assert sum(gain == 1 for gain in gains) == 1


def test_distilling_wins_on_every_seed_of_fashion_mnist():
    found = accuracies("fashion_mnist")
    for alone, distilled in zip(found["alone"], found["distilled"], strict=True):
        assert distilled > alone


def test_weights_of_one_bit_make_no_more_errors_and_with_a_teacher_a_fifth_less():
    found = variants(results("binary_connect_mnist"))
    errors = {
        name: statistics.fmean(row.get("binary_test_errors", row["test_errors"]) for row in rows)
        for name, rows in found.items()
    }
    real = statistics.fmean(row["test_errors"] for row in found["stochastic"])
    assert len(found["real weights"]) == 1
    assert errors["deterministic"] <= errors["real weights"] < 129
    assert max(row["binary_test_errors"] for row in found["deterministic"]) < 129
    assert errors["deterministic, taught"] / errors["deterministic"] == pytest.approx(0.8, abs=0.03)
    assert real > 118
    assert errors["stochastic"] / real == pytest.approx(3, abs=0.1)
    for rows in found.values():
        for row in rows:
            assert row.get("kernel_factor", 32) == 32


def test_zeros_save_bytes_and_no_time():
    for found in results("benchmarks/sparse_latency")["networks"].values():
        assert 0.97 < found["ratio"] < 1.03
        assert found["sparse_bytes"] < 0.4 * found["dense_bytes"]


def test_kdz_files_are_decoded_faster_than_the_target():
    found = results("benchmarks/kdz_speed")
    for row in found["rows"]:
        assert row["plain_bytes"] >= 50e6
        assert row["megabytes_per_second"]["decode"] >= found["limit"] == 100


def test_a_second_generation_wins_on_every_seed_and_a_larger_teacher_by_more():
    rows = variants(results("born_again_fashion_mnist"))
    alone = [row["test_accuracy"] for row in rows["alone"]]
    # From the last generation to the first.
    by_seed = [row["test_accuracies"][::-1] for row in rows["three generations"]]
    wins = [[found > own for found in of_seed] for own, of_seed in zip(alone, by_seed, strict=True)]
    assert [sum(won) for won in zip(*wins, strict=True)] == [2, 3, 2]
    mean = statistics.fmean(alone)
    first, second, third = (statistics.fmean(found) for found in zip(*by_seed, strict=True))
    assert second - mean == pytest.approx(0.0076, abs=0.0003)
    assert mean < first < third < second
    found, larger = means("born_again_fashion_mnist"), means("fashion_mnist")
    assert larger["distilled"] - larger["alone"] > second - mean
    assert found["permuted"] - first == pytest.approx(0.0012, abs=0.0001)
    assert abs(found["confidence"] - mean) < 0.001
    ensembles = [row["ensemble_test_accuracy"] for row in rows["three generations"]]
    assert abs(statistics.fmean(ensembles) - found["ensemble of three"]) < 0.001


def test_distilling_takes_two_fifths_of_the_errors_on_mnist():
    found = means("hinton_mnist")
    assert 0.38 < 1 - (1 - found["distilled"]) / (1 - found["alone"]) < 0.43


def test_a_digit_that_was_never_seen_is_known_once_its_bias_is_raised():
    found = variants(results("hinton_mnist_without_3"))
    errors = {
        name: statistics.fmean(row["test_errors"] for row in rows) for name, rows in found.items()
    }
    threes = {
        name: statistics.fmean(row["test_errors_by_class"][3] for row in rows)
        for name, rows in found.items()
        if name != "teacher"
    }
    assert threes["alone"] == 1010
    assert threes["distilled"] < 0.1 * 1010
    ours, paper = "those biases by held-out images", "biases by test errors"
    assert errors[paper] < 109 < errors["distilled"]
    assert 14 < threes[paper] < threes[ours] == 17
    assert 0 < errors[ours] - errors[paper] < 6
    assert errors["biases by held-out images"] > 2 * errors["distilled"]


def test_most_digits_are_known_by_students_of_7_and_8():
    found = variants(results("hinton_mnist_only_7_8"))
    errors = {
        name: statistics.fmean(row["test_errors"] for row in rows) for name, rows in found.items()
    }
    of_both = [sum(row["test_errors_by_class"][7:9]) for row in found["alone"]]
    assert max(of_both) < 12
    assert min(row["test_errors"] for row in found["alone"]) > 8000
    assert errors["distilled"] < 4730 < 5000
    assert errors["biases by held-out images"] == pytest.approx(1170, abs=5)
    assert max(row["test_errors"] for row in found["biases by held-out images"]) < 1320
    assert errors["biases by test errors"] == pytest.approx(1625, abs=5)


def test_no_weight_of_the_labels_is_better_than_another():
    found = accuracies("hard_weight_digits")
    weighted = {name: found[name] for name in found if name.startswith("weight ")}
    averages = {name: statistics.fmean(each) for name, each in weighted.items()}
    assert set(averages) == {f"weight {weight:g}" for weight in (0, 0.1, 0.3, 0.5, 0.9)}
    assert min(averages.values()) > statistics.fmean(found["alone"]) + 5e-3
    assert max(averages.values()) - min(averages.values()) < 2.5e-3
    deviations = [statistics.stdev(each) for each in weighted.values()]
    assert max(averages.values()) - min(averages.values()) < min(deviations) / 2


def test_the_student_of_an_ensemble_keeps_less_than_80_percent_of_its_gain():
    content = results("ensemble_digits")
    found = means("ensemble_digits")
    gain = found["ensemble"] - found["member"]
    students = {name: found[name] - found["member"] for name in found if name != "ensemble"}
    assert students["by the ensemble, as short"] == pytest.approx(0.6 * gain, abs=0.01 * gain)
    assert students["by the ensemble"] < 0.8 * gain
    longer = [students[name] for name in ("alone, as long", "by one", "by the ensemble")]
    assert max(longer) - min(longer) < 2 / 797 == 2 / content["examples"]["test"]
    assert students["by one"] < students["by the ensemble"] < students["alone, as long"]
    seeds = {name: {row["seed"] for row in rows} for name, rows in variants(content).items()}
    assert not seeds["member"] & (seeds["by the ensemble"] | seeds["by one"])


def test_30_units_want_lower_temperatures_than_300():
    found = means("hinton_mnist_temperatures")
    wide, narrow = (
        {t: found[f"{units} units, T={t}"] for t in ("1", "2.5", "4", "8", "20")}
        for units in (300, 30)
    )
    assert max(wide, key=wide.get) == "4"
    assert abs(wide["8"] - wide["20"]) < 5e-4
    assert max(narrow, key=narrow.get) == "2.5"
    assert narrow["20"] < narrow["8"] < min(narrow["1"], narrow["4"]) - 2e-3


def test_hints_win_by_less_than_seeds_differ():
    found = accuracies("fitnet_mnist")
    students = {name: statistics.fmean(found[name]) for name in found if name != "teacher"}
    assert max(students, key=students.get) == "hints"
    assert min(students, key=students.get) == "alone, as long"
    wins = sum(a > b for a, b in zip(found["hints"], found["distilled"], strict=True))
    assert wins == 1


def test_hints_gain_most_and_the_relational_losses_cost():
    content = results("losses_compared")
    summary = content["summary"]
    students = {name: summary[name]["mean"] for name in summary if name.startswith("soft")}
    best = max(students, key=students.get)
    assert best == "soft targets + hint"
    assert summary[best]["std"] == min(summary[name]["std"] for name in students)
    assert min(students, key=students.get) == "soft targets + relational"
    assert students["soft targets + relational"] < students["soft targets"]


def test_the_teacher_helps_where_much_is_lost_and_costs_elsewhere():
    found = {
        name: mean
        for recipe in ("qat_separable", "prune_separable", "prune_2_of_4")
        for name, mean in means(f"{recipe}_cifar10").items()
    }
    gains = {
        name: 100 * (found[f"{name}, taught"] - found[name])
        for name in found
        if f"{name}, taught" in found
    }
    assert gains.pop("90 % zeros") > 1.5
    assert len(gains) == 4
    assert all(-1 < gain < -0.4 for gain in gains.values()), gains
    for name in ("int8 aware", "2 of 4 zeros"):
        assert found[name] > found["float32"]
    assert 0 < found["float32"] - found["80 % zeros"] < 2e-3


def test_few_values_cost_little_and_take_half_of_the_packed_bytes():
    summary = results("cluster_separable_cifar10")["summary"]
    accuracy = {name: summary[name]["mean"] for name in summary}
    assert accuracy["float32"] - accuracy["16 values"] == pytest.approx(0.007, abs=5e-4)
    assert accuracy["float32"] - accuracy["32 values"] == pytest.approx(0.0025, abs=5e-4)
    packed = {name: summary[name].get("gzipped_bytes") for name in summary}
    assert packed["16 values"] / packed["float32"] == pytest.approx(0.42, abs=5e-3)
    assert packed["32 values"] / packed["float32"] == pytest.approx(0.52, abs=5e-3)


def test_a_quarter_of_a_lenet_costs_less_than_a_tenth_of_a_point():
    content, found = results("low_rank_lenet"), accuracies("low_rank_lenet")
    (whole,) = found["unfactorized"]
    assert found["0.5 of it"][0] >= whole
    quarter = found["0.25 of it"]
    assert 0 < whole - statistics.fmean(quarter) < 1e-3
    assert all(a > b for a, b in zip(quarter, found["0.25 of it, by labels"], strict=True))
    assert whole - found["0.125 of it"][0] == pytest.approx(0.007, abs=5e-4)
    assert 0.035 < whole - found["0.0625 of it"][0] < 0.04
    ranks = {row["kind"]: row["ranks"]["stage1"][1] for row in content["rows"] if "ranks" in row}
    assert (ranks["0.125 of it"], ranks["0.0625 of it"]) == (27, 13)
    sizes = {row["kind"]: row["parameters"] for row in content["rows"]}
    assert sizes["0.25 of it"] < sizes["unfactorized"] / 4


def test_a_taught_lenet_is_46_times_smaller_at_fewer_errors_than_in_the_paper():
    rows = variants(results("deep_compression_lenet_300_100"))
    errors = {name: [row["test_errors"] for row in found] for name, found in rows.items()}
    factor = {
        name: statistics.fmean(row["times_smaller"] for row in found)
        for name, found in rows.items()
        if name != "dense"
    }
    assert max(errors["as in the paper"]) < 158
    assert factor["as in the paper"] == pytest.approx(37, abs=0.5)
    assert factor["smaller, taught"] == pytest.approx(46, abs=0.5)
    assert 158 - statistics.fmean(errors["smaller, taught"]) == pytest.approx(25, abs=0.5)
    assert max(errors["smaller, taught"]) < 158
    pairs = zip(errors["as in the paper"], errors["taught"], strict=True)
    assert all(taught < alone for alone, taught in pairs)
    for row in (row for name in factor for row in rows[name]):
        assert min(row["gzip_bytes"], row["zstd_bytes"]) > 1.9 * row["bytes"]
        assert row["bytes"] * row["times_smaller"] == pytest.approx(4 * row["parameters"])


def test_a_file_agrees_more_often_where_training_was_aware_of_8_bits():
    rows = variants(results("qat_separable_cifar10"))
    agreement = {name: [row["agreement"] for row in found] for name, found in rows.items()}
    after = max(agreement["int8 after training"])
    assert min(agreement["int8 aware"] + agreement["int8 aware, taught"]) > after


def test_int8_is_the_better_of_the_two_small_forms():
    rows = read_manifest()
    students = [name.removesuffix("/sparse_80") for name in rows if name.endswith("/sparse_80")]
    assert len(students) == 3
    for name in students:
        int8, zeros = (rows[f"{name}/{form}"].measured for form in ("int8", "sparse_80"))
        assert int8["tflite_accuracy"] > zeros["tflite_accuracy"]
        assert int8["bytes"][".tflite, gzipped"] < zeros["bytes"][".tflite, gzipped"]
    zeros = rows["separable_025/cifar10/sparse_80"].measured
    assert zeros["tflite_accuracy"] < zeros["alone"]["mean"]


def test_a_step_misses_three_of_its_targets():
    rows = results("benchmarks/distiller_step")["rows"]
    missed = [
        (row["work"]["pair"], row["work"]["dtype"], target["target"])
        for row in rows
        for target in row["targets"]
        if not target["met"]
    ]
    assert missed == [
        ("wrn16-separable", "float32", "memory / keras.distillation"),
        *2 * [("wrn40-wrn16", "float32", "evaluate / student's own")],
        ("wrn40-wrn16", "mixed_bfloat16", "speed / keras.distillation"),
    ]


def test_only_the_contrastive_loss_with_many_negatives_costs_more_than_the_target():
    for dtype in ("float32", "mixed_bfloat16"):
        content = results(f"benchmarks/losses_cost_{dtype}")
        slow = [row["loss"] for row in content["rows"] if row["ratio"] > content["limit"]]
        assert slow == ["contrastive, 16,384 negatives"]


def test_compression_costs_no_more_than_with_tf_keras():
    content = results("benchmarks/compression_cost")
    assert all(row["ratio"] <= content["limit"] for row in content["rows"])


def test_a_recorded_teacher_costs_no_more_than_its_target():
    found = results("benchmarks/recorded_teacher")
    assert found["ratio"] <= found["limit"]


def test_several_exits_cost_a_hundredth_of_a_file_and_widths_share_nothing():
    for name, forms in results("benchmarks/files_of_signatures")["models"].items():
        for found in forms.values():
            size, alone = found["file"]["bytes"], [one["bytes"] for one in found["alone"]]
            if "one_signature" in found:
                assert size < 1.0125 * found["one_signature"]
                # Classifiers that papers made large are weights of the network.
                assert (size <= 1.05 * alone[-1]) == (not name.startswith(("B-LeNet", "MSDNet")))
            else:
                assert 0.98 * sum(alone) < size < 1.02 * sum(alone)


def test_whole_calls_take_little_beside_their_steps():
    calls = results("benchmarks/epoch_overhead")["calls"]
    ratios = {
        (call, form): found["ratios"][form]
        for call, found in calls.items()
        for form in ("arrays", "tf.data", "PyDataset")
    }
    assert [key for key, ratio in ratios.items() if ratio > 1.05] == [("predict", "arrays")]
    of_predict = calls["predict"]["seconds"]
    beside = statistics.median(of_predict["arrays"]) - statistics.median(of_predict["steps"])
    assert 0.075 < beside < 0.09
    assert calls["fit"]["ratios"]["Keras, arrays"] > 1.4


def test_a_quarter_of_the_costs_loses_nothing_on_mnist_and_a_teacher_gains():
    rows, mean = variants(results("early_exit_mnist")), means("early_exit_mnist")
    quarter = {
        name: statistics.fmean(at_a_quarter(row) for row in rows[name])
        for name in ("as in the paper", "self-taught", "taught")
    }
    exits = {"as in the paper": "exits as in the paper", "self-taught": "self-taught exits"}
    for name, lost in (("as in the paper", 5e-4), ("self-taught", 8e-4)):
        assert mean["alone"] - quarter[name] == pytest.approx(lost, abs=5e-5)
    assert quarter["taught"] - mean["alone"] == pytest.approx(0.0024, abs=3e-4)
    for name in quarter:
        whole = mean[exits.get(name, "taught exits")]
        assert quarter[name] == pytest.approx(whole, abs=5.5e-4)
        # Thresholds that keep the held-out accuracy are too bold on the test images.
        assert 0.0009 < mean["alone"] - mean[name] < 0.0017
        for row in rows[name]:
            assert row["times_fewer_macs"] > 3.9
            assert abs(row["test_accuracy"] - row["validation_accuracy"]) < 0.01
            assert row["mean_macs"] == pytest.approx(row["validation_mean_macs"], rel=0.05)
            file = row["litert"]
            assert file["mean_signatures_ms"] < file["exits_alone_ms"][-1]
            assert file["mean_ms"] > 1.5 * file["mean_signatures_ms"]


def test_thresholds_gain_a_point_on_the_same_network_cut_and_trained_alone():
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    stopping, whole = rows["budgets"], rows["exits"]
    costs, accuracies = curve(stopping, whole)
    gains = {
        number: np.interp(rows[name]["macs"], costs, accuracies) - rows[name]["test_accuracy"]
        for number in (1, 2, 3, 4)
        for name in [f"exit {number} alone"]
    }
    assert gains[1] == pytest.approx(-0.0035, abs=0.0005)
    assert gains[2] == pytest.approx(0.017, abs=0.0005)
    assert gains[3] == pytest.approx(0.013, abs=0.0005)
    lost = rows["exit 4 alone"]["test_accuracy"] - whole["test_accuracy"]
    assert lost <= 0
    assert gains[4] >= 0


def test_half_of_the_cost_of_an_msdnet_loses_half_a_point():
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    stopping, whole = rows["budgets"], rows["exits"]
    file, last = stopping["litert"], whole["exit_macs"][-1]
    assert file["mean_signatures_ms"] == pytest.approx(
        np.dot(stopping["fractions"], file["signatures_ms"]), rel=0.01
    )
    (half,) = [point for point in stopping["curve"] if point["budget"] == 0.5 * last]
    assert whole["test_accuracy"] - half["test_accuracy"] <= 0.005 + 1e-9
    assert half["fractions"][:2] == pytest.approx([0.5, 0.27], abs=0.005)
    ms = np.dot(half["fractions"], file["signatures_ms"])
    assert ms / file["signatures_ms"][-1] == pytest.approx(0.56, abs=0.005)
    assert ms / file["exits_alone_ms"][-1] == pytest.approx(0.65, abs=0.006)
    # By the thresholds of the row, by which held-out images lose half a point.
    assert whole["validation_accuracy"] - stopping["validation_accuracy"] <= 0.005 + 1e-9
    assert whole["test_accuracy"] - stopping["test_accuracy"] == pytest.approx(0.008, abs=0.0005)
    assert file["mean_signatures_ms"] / file["signatures_ms"][-1] == pytest.approx(0.5, abs=0.005)
    assert file["mean_signatures_ms"] / file["exits_alone_ms"][-1] < 0.6


def test_scaled_gradients_and_the_last_exit_as_a_teacher_cost_an_msdnet_a_point():
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    whole, scaled = rows["exits"], rows[SCALED]
    assert whole["test_accuracy"] - scaled["test_accuracy"] == pytest.approx(0.009, abs=0.0005)
    held_out = whole["validation_accuracy"] - scaled["validation_accuracy"]
    assert held_out == pytest.approx(0.008, abs=0.0005)
    first = scaled["exit_test_accuracies"][0] - whole["exit_test_accuracies"][0]
    assert first == pytest.approx(0.005, abs=0.0005)


@pytest.mark.parametrize("recipe", ["early_exit_mnist", "msdnet_cifar10"])
def test_thresholds_keep_what_they_were_fitted_to(recipe):
    rows = [row for row in results(recipe)["rows"] if "curve" in row]
    assert len(rows) == (9 if recipe == "early_exit_mnist" else 2)
    points = [point for row in rows for point in row["curve"]]
    for point in points:
        assert point["test_accuracy"] == pytest.approx(point["validation_accuracy"], abs=0.01)
        assert point["mean_macs"] == pytest.approx(point["budget"], rel=0.05)


def test_bfloat16_is_quicker_with_amx_and_slower_without():
    with_amx, without = (
        results(f"benchmarks/half_precision{machine}")["models"] for machine in ("", "_without_amx")
    )
    assert with_amx.keys() == without.keys()
    assert max(found["ratio"] for found in with_amx.values()) < 0.8
    ratios = [found["ratio"] for found in without.values()]
    assert min(ratios) > 1.05
    assert max(ratios) == without["fitnet_1"]["ratio"] == pytest.approx(1.46, abs=0.01)


def test_int8_does_with_thresholds_what_keras_does():
    found = results("benchmarks/exits_in_int8")["budgets"]
    assert found.keys() == {"0.5", "0.75"}
    for budget, lost in {"0.5": 0.0006, "0.75": 0.0013}.items():
        keras, int8 = found[budget]["Keras"], found[budget]["int8"]
        assert found[budget]["float32"]["same_exit"] > 0.999
        assert keras["accuracy"] - int8["accuracy"] == pytest.approx(lost, abs=1e-9)
        assert int8["mean_macs"] == pytest.approx(keras["mean_macs"], rel=0.005)


def test_labels_in_place_of_hints_make_as_many_errors():
    by_labels, by_hints = (
        [row["test_errors"] for row in variants(results(recipe))[name]]
        for recipe, name in (("fitnet_mnist_by_labels", "labels first"), ("fitnet_mnist", "hints"))
    )
    assert len(by_labels) == len(by_hints) == 3
    assert sum(by_labels) == sum(by_hints)


def test_a_first_exit_costs_a_residual_network_points_and_an_msdnet_nothing():
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    residual, dense = (
        {place: gain for place, (_, gain) in last_exit_by_place(network, rows).items()}
        for network in ("residual", "MSDNet")
    )
    places = ("early", "in the middle", "late")
    by_place = [residual[place] for place in places]
    assert by_place == sorted(by_place, reverse=True)
    assert [max(by_place), min(by_place)] == pytest.approx([-1.3, -2.9], abs=0.05)
    gained = [dense[place] for place in places]
    assert [min(gained), max(gained)] == pytest.approx([0.4, 1.1], abs=0.05)
    for gains in (residual, dense):
        assert gains["early, scaled gradients"] < gains["early"]


def test_of_the_ways_to_shrink_int8_costs_little_and_packs_best():
    summaries = {
        width: results(f"zoo_cifar10_{width}_compressed")["summary"]
        for width in ("025", "050", "100")
    }
    for width, summary in summaries.items():
        before, int8, zeros = (summary[name] for name in ("float32", "int8", "80 % zeros"))
        assert before["mean"] - int8["mean"] < 0.0021
        assert before["bytes"] / int8["bytes"] > (2 if width == "025" else 3)
        assert int8["gzipped_bytes"] < zeros["gzipped_bytes"]
        assert int8["mean"] > zeros["mean"]
    measured = {
        name: read_manifest()[f"{name}/cifar10"].measured
        for name in ("separable_025", "separable_050")
    }
    narrow, wide = measured.values()
    assert wide["accuracy"]["mean"] - narrow["accuracy"]["mean"] == pytest.approx(0.02, abs=0.002)
    assert wide["accuracy"]["mean"] - narrow["alone"]["mean"] > 0.04
    times = {
        name: entry.measured["latency_ms"]["float32"]["median"]
        / entry.measured["latency_ms"]["int8"]["median"]
        for name, entry in read_manifest().items()
        if {"float32", "int8"} <= set(entry.measured["latency_ms"])
    }
    slower = {name.split("/")[0] for name, ratio in times.items() if ratio < 1}
    assert slower == {"separable_025"}
    assert 8 < max(times.values()) < 9
    longer = [1 / ratio for ratio in times.values() if ratio < 1]
    assert [min(longer), max(longer)] == pytest.approx([1.2, 4 / 3], abs=0.03)
