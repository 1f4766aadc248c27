"""Numbers that may change while a compiled training step goes on reading them."""

import keras


class Adjustable:
    """A number, and the variable in which a compiled step reads it anew each time.

    It lies out of Keras's sight: neither trained nor saved. On JAX the variable has to be part of
    the step's state, which `Distiller.non_trainable_variables` sees to.

    Args:
        value: The number, a float.
    """

    def __init__(self, value: float):
        self.value = value
        self.variable = keras.Variable(value, dtype="float32", trainable=False, autocast=False)

    def set(self, value: float) -> None:
        """Gives the number another value, also between the steps of a `fit`.

        On JAX a callback does so through its `self.model`, as Keras then puts all values back.
        """
        self.value = value
        self.variable.assign(value)


def adjustables_of(thing: object) -> list[Adjustable]:
    """Returns the numbers among the attributes of something that may change."""
    return [value for value in vars(thing).values() if isinstance(value, Adjustable)]
