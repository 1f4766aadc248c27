"""Numbers that arguments may be."""

import numpy as np
import pytest

from kdzoo.utils import check_integer, check_number, check_positive_integer, is_number


def test_an_array_without_axes_is_a_number():
    assert (
        check_integer("epochs", np.array(3)) == check_positive_integer("epochs", np.array(3)) == 3
    )
    assert check_number("rate", np.array(0.5, "float32")) == 0.5
    assert is_number(np.array(0.5))


@pytest.mark.parametrize("value", [np.array([3]), np.array(True), np.array("3"), np.array(None)])
def test_other_arrays_are_none(value):
    assert not is_number(value)
    for check in (check_integer, check_positive_integer, check_number):
        with pytest.raises(ValueError, match="Expected x to be a"):
            check("x", value)
