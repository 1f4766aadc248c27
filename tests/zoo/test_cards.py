"""Cards and tables: every figure is the manifest's, and the committed ones have not drifted."""

import dataclasses
import pathlib
import subprocess
import sys

import kdzoo
from kdzoo.zoo.cards import table, write_card
from kdzoo.zoo.manifest import File, find, read_manifest

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
NAME = "mlp_2x64/mnist"


def test_a_card_says_what_the_manifest_says(zoo):
    text = kdzoo.card(NAME, directory=zoo)
    for line in (
        "# mlp_2x64/mnist",
        "| accuracy of the shipped weights | 49.00 % of the test images |",
        "| over seeds | 50.00 ± 1.00 % (2 seeds) |",
        "| the same network alone, same budget | 40.00 ± 2.00 % (2 seeds) |",
        "| parameters | 5,555 |",
        "| MACs | 5,300 |",
        "| LiteRT latency, int8 | 0.1 ms (quartiles 0.09 to 0.12), one thread, here |",
        "| agreement with the teacher | 75.00 % |",
        "| expected calibration error, 15 bins | 1.23 % |",
        'model = kdzoo.load("mlp_2x64/mnist")',
    ):
        assert line in text.splitlines()
    for part in ("1,234 training images of MNIST", "taught by mlp_2x1200", "`kdzoo train none`"):
        assert part in text
    assert "CC BY-SA 3.0" in text
    row = find(NAME, zoo)
    other = dataclasses.replace(row, measured={**row.measured, "parameters": 7})
    assert "| parameters | 7 |" in write_card(other)
    sizes = {".tflite int8": 98765, ".tflite int8, gzipped": 66855}
    converted = write_card(dataclasses.replace(row, measured={**row.measured, "bytes": sizes}))
    assert "| bytes, .tflite int8 | 98,765 |\n" in converted
    assert "| bytes, .tflite int8, gzipped | about 66,900 |\n" in converted  # It is made anew.
    longer = dataclasses.replace(row, training={**row.training, "epochs": 7})
    assert "| the same network alone, 2 epochs | 40.00" in write_card(longer)
    assert "Built with" not in text
    other = dataclasses.replace(row, arguments={"dropout": 0.5, "max_norm": 4.0})
    assert " Built with `dropout=0.5, max_norm=4.0`. A student on MNIST" in write_card(other)
    assert "Finished with keras 3.15.1, commit not recorded." in text
    versions = {"keras": "3.15.1", "commit": "0123456789"}
    known = dataclasses.replace(row, training={**row.training, "versions": versions})
    assert "Finished with keras 3.15.1, commit 0123456789." in write_card(known)
    assert "Weights: Apache-2.0. Data: CC BY-SA 3.0." in text
    assert "Weights: MIT." in write_card(dataclasses.replace(row, licence="MIT"))
    elsewhere = dataclasses.replace(row, dataset="my_photos")
    assert "on my_photos" in write_card(elsewhere)


def test_the_card_of_a_compressed_model_says_what_each_figure_is_of(zoo):
    row = find(NAME, zoo)
    file = {"tflite_accuracy": 0.48, "float": 0.505, "sparsity": 0.8004}
    image = {"shape": [1, 4, 4, 1], "dtype": "int8", "scale": 0.0039215689, "zero_point": -128}
    file["signature"] = {
        "input": image,
        "output": {"shape": [1, 3], "dtype": "int8", "scale": 0.125, "zero_point": 3},
    }
    compressed = dataclasses.replace(
        row,
        files={**row.files, "tflite": File("file.tflite", "0" * 64, 77)},
        training={**row.training, "form": "80% of the weights in pruned kernels zero"},
        measured={**row.measured, **file, "bytes": {"weights": 99, ".tflite": 77}},
    )
    lines = write_card(compressed).splitlines()
    for line in (
        "| accuracy of the shipped `.tflite` file | 48.00 % of the test images |",
        "| of such files over seeds | 50.00 ± 1.00 % (2 seeds) |",
        "| accuracy of the same weights in float32, what `kdzoo.load` returns | 49.00 % of "
        "the test images |",
        "| accuracy of the float32 student that this training began with | 50.50 % |",
        "| the same network alone, neither quantized nor pruned, 2 epochs | 40.00 ± 2.00 % "
        "(2 seeds) |",
        "| zeros among the weights of all kernels | 80.04 %, with those of the layers left dense |",
        "| input of the file | int8 (1, 4, 4, 1), value = 0.00392157 · (integer + 128) |",
        "| output of the file | int8 (1, 3), value = 0.125 · (integer - 3) |",
        "| bytes, weights | 99 |",
        "| bytes, .tflite | 77 |",
        "| agreement with the teacher, of the file | 75.00 % |",
        "| expected calibration error, 15 bins, of the file | 1.23 % |",
        'path = kdzoo.zoo.tflite("mlp_2x64/mnist")',
    ):
        assert line in lines
    assert "A student on MNIST, 80% of the weights in pruned kernels zero." in lines[2]
    assert not any("do not ship" in line for line in lines)
    assert "from the student of seed" not in write_card(compressed)
    one_start = dataclasses.replace(compressed, training={**compressed.training, "start_seed": 0})
    assert "seeds 0, 1, all from the student of seed 0, taught by" in write_card(one_start)
    float32 = {"shape": [1, 3], "dtype": "float32", "scale": None, "zero_point": None}
    file = {**compressed.measured, "signature": {"input": image, "output": float32}}
    plain = write_card(dataclasses.replace(compressed, measured=file))
    assert "| output of the file | float32 (1, 3) |" in plain.splitlines()
    one_zero = {**compressed.measured, "sparsity": 0.001}
    assert "zeros among" not in write_card(dataclasses.replace(compressed, measured=one_zero))


def test_the_table(zoo):
    lines = table(read_manifest(zoo).values()).splitlines()
    assert len(lines) == 3
    size = find(NAME, zoo).files["weights"].bytes
    assert lines[2] == (
        f"| {NAME} | 49.00 | 50.00 ± 1.00 (2 seeds) | 40.00 ± 2.00 (2 seeds) | 5,555 | 5,300 | "
        f"{size:,} |"
    )


def test_the_cards_have_not_drifted():
    """`make cards` would change nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "tools.cards", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_card_says_which_files_ship():
    ships = (
        "`separable_050/cifar10/int8` and `separable_050/cifar10/sparse_80`, trained for it, ship"
    )
    assert ships in kdzoo.card("separable_050/cifar10")
    for name, row in read_manifest().items():
        card = kdzoo.card(name)
        makes = f"do not ship: `kdzoo export {name} FILE.tflite` makes them"
        if "exits" in row.measured:
            makes = f"or `kdzoo export {name} FILE.tflite --data {row.dataset} --budget 50%`"
        assert (makes in card) == ("tflite" not in row.files)
        forms = [other for other in read_manifest() if other.startswith(f"{name}/")]
        coded = [form for form in forms if form.endswith("/kdz")]
        assert ("trained for it, ship as such files" in card) == (forms != coded)
        assert all(f"`{form}` ships as a `.kdz` file" in card for form in coded)
