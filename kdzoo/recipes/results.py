"""What a recipe leaves: a row for each model, accuracies, their spread, versions, as JSON."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import re
import statistics
import subprocess

from kdzoo.recipes.files import read_data, read_result
from kdzoo.utils import first_line, read_object, write_text

DATA = "data.json"  # In a run's directory: which images and labels it is of.


def measure(model, data):
    """Returns the accuracy on the test images and, where some are held out, on those.

    Args:
        model: A trained `keras.Model`.
        data: The `kdzoo.data.Dataset`.
    """
    from kdzoo.evaluation import accuracy

    x, y = data.test.arrays()
    share = accuracy(model, x, y)
    measured = {"test_accuracy": share, "test_errors": round((1 - share) * len(y))}
    if data.validation is not None:
        measured["validation_accuracy"] = accuracy(model, *data.validation.arrays())
    return measured


def summarize(rows, kind):
    """Returns mean and sample standard deviation of a kind's test accuracy, and the median's seed.

    Args:
        rows: The rows of `results.json`.
        kind: The kind of model.
    """
    ours = sorted((row["test_accuracy"], row["seed"]) for row in rows if row["kind"] == kind)
    values = [accuracy for accuracy, _ in ours]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median_seed": ours[(len(ours) - 1) // 2][1],
    }


def write_results(recipe, kinds, data, directory, in_short=summarize):
    """Writes what is finished of a recipe to `results.json`, and returns it.

    Args:
        recipe: A dataclass with `seeds_of` and `finished_row`.
        kinds: The kinds of model, in order; those are left out that lack a seed.
        data: The `kdzoo.data.Dataset`.
        directory: Where the recipe ran, a path.
        in_short: Function of rows and a kind, what to say of it in the summary.

    Raises:
        ValueError: If a model was made with other settings than the recipe's.
    """
    rows = finished_rows(recipe, kinds, directory)
    results = {
        "settings": dataclasses.asdict(recipe),
        "summary": {
            kind: in_short(rows, kind) for kind in dict.fromkeys(row["kind"] for row in rows)
        },
        **_what_data(data),
        "versions": versions(),
        "rows": rows,
    }
    write_json(directory / "results.json", results)
    return results


def _what_data(data):
    """What results say of the data that they are of."""
    from kdzoo.teacher_cache.reading import fingerprint_of_data

    parts = _parts(data)
    return {
        "examples": {part: len(each) for part, each in parts.items()},
        "data_version": data.version,
        "data_sha256": {part: fingerprint_of_data(each) for part, each in parts.items()},
    }


def _parts(data):
    """The splits that there are, name -> split."""
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    return {name: each for name, each in parts.items() if each is not None}


def finished_rows(recipe, kinds, directory):
    """Returns the rows of the kinds that are finished for all their seeds.

    Args:
        recipe: As in `write_results`, like the others.
        kinds: As there.
        directory: As there.

    Raises:
        ValueError: As there.
    """
    rows = stage_rows(recipe, kinds, directory)
    unfinished = {kind for (kind, _), row in rows.items() if row is None}
    return [row for (kind, _), row in rows.items() if kind not in unfinished]


def stage_rows(recipe, kinds, directory):
    """Returns (kind, seed) -> row, or None for what is not finished, the kinds of a seed together.

    Args:
        recipe: As in `write_results`, like the others.
        kinds: As there.
        directory: As there.

    Raises:
        ValueError: As there.
    """
    seeds = dict.fromkeys(seed for kind in kinds for seed in recipe.seeds_of(kind))
    return {
        (kind, seed): recipe.finished_row(kind, seed, directory / directory_name(kind, seed))
        for seed in seeds
        for kind in kinds
        if seed in recipe.seeds_of(kind)
    }


def versions():
    """Returns name -> version of the packages that a result depends on, and Keras's backend.

    Where kdzoo runs from a checkout, its commit is among them, with a "+" if its code is changed.
    """
    import keras

    found = {}
    for package in ("kdzoo", "keras", "tensorflow", "jax", "tensorflow-datasets", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, "backend": keras.config.backend(), **({"commit": commit} if commit else {})}


@functools.cache
def _commit():
    """The commit of the checkout that kdzoo is imported from; None where there is none, or no git.

    A package in the environment of another project is in that project's checkout, which is not it.
    """
    root = pathlib.Path(__file__).resolve().parents[2]

    def git(*arguments):
        return subprocess.check_output(
            ["git", "-C", str(root), *arguments], text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "kdzoo/*.py")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write_json(path, content):
    """Writes JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_finished(home, fits):
    """Returns the row of a finished training without its settings; None if there is none yet.

    Args:
        home: Directory of the training.
        fits: Function from the settings that it was made with to whether they are the recipe's.

    Raises:
        ValueError: If they are not.
    """
    finished = home / "result.json"
    if not finished.exists():
        return None
    row = read_result(finished)
    if not fits(row.pop("settings")):
        raise ValueError(
            f"Expected {home} to hold a run of this recipe. Received: a run with other settings; "
            "choose another directory or delete it."
        )
    return row


def load_trained(home):
    """Returns the model of a training that is finished, a `keras.Model`.

    Args:
        home: Directory of the training, a path.

    Raises:
        ValueError: If its file is gone or damaged, or holds another model than was measured.
    """
    from kdzoo.zoo.files import load_keras_file

    path, model, reason = home / "model.keras", None, "a file that holds another model"
    try:
        model = load_keras_file(path)
    except FileNotFoundError:
        reason = "no such file"
    except (ValueError, OSError) as error:
        reason = f"a damaged file, of which is said: {first_line(error)}"
    measured = read_result(home / "result.json").get("weights")  # Older results do not say.
    if model is not None and measured in (None, fingerprint(model)):
        return model
    raise ValueError(
        f"Expected {path} as the training left it. Received: {reason}; put it back, or delete "
        f"{home.name}, which is then trained again."
    )


def check_data(directory, data):
    """Raises `ValueError` if a run was made with other images; keeps what these are if it is new.

    Of a run that did not keep that yet, its results say what they know of the data.

    Args:
        directory: The run's, a path.
        data: The `kdzoo.data.Dataset`.
    """
    now, path = _what_data(data), directory / DATA
    if not os.path.lexists(path):
        _check_same_results(directory, data.name, now)
        keep_data(directory, data.name, now)
        return
    before = read_data(path)
    differing = sorted(set(now["data_sha256"].items()) ^ set(before["sha256"].items()))
    if differing:
        raise ValueError(
            f"Expected the images and labels that {directory} was begun with, {before['name']} in "
            f"version {before.get('version')}. Received: {data.name} in version {data.version}, "
            f"whose {differing[0][0]} split is another; choose another directory, or train anew "
            "what was restored."
        )


def keep_data(directory, name, results):
    """Writes which data a run is of.

    Args:
        directory: The run's, a path.
        name: Name of the data set.
        results: What its results say, as `write_results` returns them.
    """
    version, sha256 = results["data_version"], results["data_sha256"]
    write_json(directory / DATA, {"name": name, "version": version, "sha256": sha256})


def _check_same_results(directory, name, now):
    path = directory / "results.json"
    what = "the results of a run; delete it, they are written again"
    before = {**now, **(read_object(path, what) if path.exists() else {})}
    for field, said in now.items():
        if before[field] != said:
            raise ValueError(
                f"Expected the data that {path} was made with, {field}={before[field]!r}. "
                f"Received: {name} with {said!r}; choose another directory."
            )


def check_no_record(directory):
    """Raises `ValueError` if a run without a teacher holds a teacher's recorded answers.

    The teacher that is about to be trained would not fit them, and its students have none.

    Args:
        directory: The run's, a path.
    """
    from kdzoo.recipes.fitting import RECORD

    for each in sorted(directory.glob(f"{RECORD}*")):
        raise ValueError(
            f"Expected {directory} to hold the teacher whose answers are in {each.name}. Received: "
            f"none there; put it back, or delete {each.name}: those of a new one are recorded anew."
        )


def fingerprint(model):
    """Returns the SHA-256 of a model's weights in half precision.

    So a model that was published in float16 and restored is still the one that was trained.

    Args:
        model: A `keras.Model`.
    """
    from kdzoo.teacher_cache.predict import fingerprint_of_model

    return fingerprint_of_model(model, "float16")


def check_made_from(row, field, home, source):
    """Raises `ValueError` if a model was made from another one than there is now.

    Args:
        row: The model's row; None if it is not finished. Older rows do not say.
        field: What holds the other one's `fingerprint`: "teacher_weights" or "start_weights".
        home: Directory of the model's training.
        source: That of the other one.
    """
    wanted = row and row.get(field)
    if not wanted:
        return
    path, what = source / "result.json", "nothing"
    if path.exists():
        what = "another model"
        if read_result(path).get("weights", wanted) == wanted:
            return
    raise ValueError(
        f"Expected {source} to hold the model that {home} was made from. Received: {what} there; "
        f"put it back, or delete {home.name}, which is then trained again."
    )


def directory_name(kind, seed):
    """Returns the name of a stage's directory: "300 units, T=2.5", 0 -> "300-units-T-2.5-0"."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', kind)}-{seed}"
