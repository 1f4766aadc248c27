"""Results of before there were stages are what they were, but for how they say their settings."""

import copy
import hashlib
import json
import pathlib

import pytest
from migrate_results import experiment_of, main, migrated

from kdzoo.recipes import RECIPES

RESULTS = pathlib.Path(__file__).parents[2] / "results"
# Of the files of then: the SHA-256 of all but the settings, and the settings.
BEFORE = json.loads(pathlib.Path(__file__).with_name("results_before_stages.json").read_text())


def without_settings(content):
    """All that was measured: every number, seed and hash."""
    rows = [{key: row[key] for key in row if key != "identity"} for row in content["rows"]]
    rest = {key: value for key, value in content.items() if key != "settings"}
    return {**rest, "rows": rows}


@pytest.mark.parametrize("name", BEFORE["sha256"])
def test_every_number_seed_and_hash_is_what_it_was(name):
    content = json.loads((RESULTS / f"{name}.json").read_text())
    said = json.dumps(without_settings(content), sort_keys=True)
    assert hashlib.sha256(said.encode()).hexdigest() == BEFORE["sha256"][name]


@pytest.mark.parametrize("name", BEFORE["settings"])
def test_the_settings_of_then_are_those_of_the_recipe(name):
    then, now = experiment_of(name, BEFORE["settings"][name]), RECIPES[name]
    assert then.described() == now.described()
    for node in now.nodes():
        assert then.identity(node.stage, node.seed) == now.identity(node.stage, node.seed)


@pytest.mark.parametrize("name", ["fitnet_mnist", "zoo_cifar10_050_compressed"])
def test_files_of_then_are_carried_over_once(name, tmp_path):
    content = json.loads((RESULTS / f"{name}.json").read_text())
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({**without_settings(content), "settings": BEFORE["settings"][name]}))
    for _ in range(2):
        main([path])
        assert json.loads(path.read_text()) == content
    stale = [{**row, "identity": "0" * 64} for row in content["rows"]]
    assert migrated(name, {**content, "rows": stale}) == content
    other = copy.deepcopy(BEFORE["settings"][name])
    other["seeds"] = [7]
    with pytest.raises(ValueError, match=f"Expected the settings of '{name}'"):
        migrated(name, {**content, "settings": other})
