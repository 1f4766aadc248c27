"""What each check of an argument takes, in which type it returns that, and what it refuses."""

import pathlib

import numpy as np
import pytest

import kdzoo
from kdzoo.utils import (
    UnknownNameError,
    check_choice,
    check_flag,
    check_fraction,
    check_integer,
    check_name,
    check_number,
    check_path,
    check_positive_integer,
    check_text,
    is_integer,
    is_number,
    shown,
)

INTEGERS = (check_integer, check_positive_integer)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
@pytest.mark.parametrize("check", INTEGERS)
def test_integers_of_python_and_numpy_become_int(check, value):
    found = check("epochs", value)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5, "float16")])
@pytest.mark.parametrize("check", [check_number, check_fraction])
def test_numbers_of_python_and_numpy_become_float(check, value):
    found = check("rate", value)
    assert found == 0.5
    assert type(found) is float


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), "3", None, np.array([3]), np.array(True), np.array("3")]
)
def test_what_is_no_number_is_none_of_any_type(value):
    assert not is_number(value)
    assert not is_integer(value)
    for check in (*INTEGERS, check_number, check_fraction):
        with pytest.raises(ValueError, match=r"Expected x to .* Received: x="):
            check("x", value)


@pytest.mark.parametrize(
    ("check", "value", "limits"),
    [
        (check_integer, 4.0, {}),
        (check_integer, 4, {"least": 5}),
        (check_integer, 4, {"most": 3}),
        (check_positive_integer, 0, {}),
        (check_positive_integer, 4, {"most": 3}),
        (check_number, 0.5, {"least": 1}),
        (check_number, 0.5, {"most": 0.25}),
        (check_number, float("nan"), {}),
        (check_number, float("inf"), {}),
        (check_fraction, 1, {}),
        (check_fraction, -0.1, {}),
        (check_fraction, float("nan"), {}),
    ],
)
def test_numbers_out_of_range_are_refused(check, value, limits):
    with pytest.raises(ValueError, match=r"Expected x to .* Received: x="):
        check("x", value, **limits)


def test_integers_beyond_the_floats_keep_their_digits():
    assert check_integer("seed", 2**70 + 1) == 2**70 + 1
    assert not is_integer(2**53 + 1, most=2**53)


@pytest.mark.parametrize(
    ("check", "right", "found", "wrong"),
    [
        (check_flag, np.bool_(True), True, ("no", None, 2, 0.5)),
        (check_flag, 0, False, (np.array([0]),)),
        (check_text, "a", "a", ("", None, b"a", 1)),
        (check_path, "a/b", pathlib.Path("a/b"), ("", None, b"a", 1)),
    ],
)
def test_flags_texts_and_paths_come_in_one_type(check, right, found, wrong):
    assert check("x", right) == found
    assert type(check("x", right)) is type(found)
    for value in wrong:
        with pytest.raises(ValueError, match=r"Expected x to be .* Received: x="):
            check("x", value)


def test_an_empty_text_may_be_right_and_a_name_may_be_left_open():
    assert check_text("x", "", may_be_empty=True) == ""
    assert check_name(None) is None
    assert check_name("net") == "net"
    for wrong in ("", "a/b", 3):
        with pytest.raises(ValueError, match=r"Expected name to be a string without '/'"):
            check_name(wrong)


def test_a_choice_is_returned_or_the_nearest_one_named():
    known = ("logits", "probabilities")
    assert check_choice("average", "logits", known) == "logits"
    with pytest.raises(UnknownNameError, match=r"Unknown average: 'logit'. Did you mean 'logits'"):
        check_choice("average", "logit", known)
    for wrong in (None, 1, ["averages"]):
        with pytest.raises(UnknownNameError, match=r"Choose from: logits, probabilities"):
            check_choice("average", wrong, known)


def test_what_an_error_shows_is_one_short_line():
    for value in ("a" * 10_000, list(range(10_000)), {"a": {"b": "c\n" * 500}}, 10**3000):
        assert len(shown(value)) < 200
        assert "\n" not in shown(value)
    assert shown(np.zeros((2, 3), "uint8")) == "an array of uint8 of shape (2, 3)"


def test_numbers_of_numpy_are_right_wherever_numbers_are():
    data = kdzoo.data.from_arrays(
        np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2, validation=np.float32(0.1)
    )
    options = {"batch_size": np.int64(5), "seed": np.uint8(1), "initial_epoch": np.int32(2)}
    assert len(data.train.batches(**options)) == 4
    assert type(kdzoo.data.Augmentation(shift=np.int64(1)).shift) is int
    kdzoo.models.mlp((np.int64(4),), max_norm=np.float32(2.0), dropout=np.float32(0.5))
