"""What is known of data sets by name: each fact once, and nothing guessed of others."""

import pytest

import kdzoo
from kdzoo.data import Augmentation
from kdzoo.data.catalog import DATASETS, resolve_augmentation, usual_augmentation


def test_the_usual_augmentation_is_found_by_name():
    assert resolve_augmentation("default", "fashion_mnist:3.0.1") == Augmentation(2, True)
    assert resolve_augmentation("default", "emnist/letters") == Augmentation(2)
    assert resolve_augmentation(None, "mnist") is None
    assert usual_augmentation("arrays") is None
    with pytest.raises(ValueError, match=r"Augmentation\(shift=2\).*no default.*'arrays'"):
        resolve_augmentation("default", "arrays")
    with pytest.raises(ValueError, match="Received: augmentation='flip'"):
        resolve_augmentation("flip", "mnist")


def test_the_cards_say_what_is_known_of_the_data():
    for name in kdzoo.list_pretrained():
        data = DATASETS[name.split("/")[1]]
        card = kdzoo.card(name)
        assert f"on {data.title}" in card
        assert f"({data.source})" in card
        assert f"Data: {data.licence}. {data.limits}" in card
