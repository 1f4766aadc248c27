"""The check that a run is continued with the images and labels that it was begun with."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kdzoo.data import Dataset
from kdzoo.experiments.run_json_files import read_data, write_json
from kdzoo.teacher_cache.fingerprints import fingerprint_of_data

DATA = "data.json"  # Which images and labels a run is of.


def what_data(data: Dataset) -> dict[str, Any]:
    """Returns what results say of the data that they are of."""
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    splits = {name: split for name, split in splits.items() if split is not None}
    return {
        "examples": {name: len(split) for name, split in splits.items()},
        "data_version": data.version,
        "data_sha256": {name: fingerprint_of_data(split) for name, split in splits.items()},
    }


def check_same_data(directory: pathlib.Path, name: str, now: Mapping[str, Any]) -> None:
    """Raises `ValueError` if a run is of other images; of a new one it keeps what they are."""
    path = directory / DATA
    if not os.path.lexists(path):
        keep_data(directory, name, now)
        return
    before = read_data(path)
    differing = sorted(set(now["data_sha256"].items()) ^ set(before["sha256"].items()))
    if differing:
        raise ValueError(
            f"Expected the images and labels that {directory} was begun with, {before['name']} in "
            f"version {before.get('version')}. Received: {name} in version {now['data_version']}, "
            f"whose {differing[0][0]} split is another; choose another directory, or train anew "
            "what was restored."
        )


def keep_data(directory: pathlib.Path, name: str, results: Mapping[str, Any]) -> None:
    """Writes which data a run is of."""
    version, sha256 = results["data_version"], results["data_sha256"]
    write_json(directory / DATA, {"name": name, "version": version, "sha256": sha256})
