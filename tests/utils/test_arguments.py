"""Numbers that arguments may be."""

import numpy as np
import pytest

from kdzoo.utils import integer, is_number, number, positive_integer


def test_an_array_without_axes_is_a_number():
    assert integer("epochs", np.array(3)) == positive_integer("epochs", np.array(3)) == 3
    assert number("rate", np.array(0.5, "float32")) == 0.5
    assert is_number(np.array(0.5))


@pytest.mark.parametrize("value", [np.array([3]), np.array(True), np.array("3"), np.array(None)])
def test_other_arrays_are_none(value):
    assert not is_number(value)
    for check in (integer, positive_integer, number):
        with pytest.raises(ValueError, match="Expected x to be a"):
            check("x", value)
