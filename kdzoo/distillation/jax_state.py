"""What a step on JAX is handed and gives back: the values of all variables that it reads."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from kdzoo.graph.keras_internals import JaxStateHook, set_value
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.utils import heavy_libraries
from kdzoo.utils.adjustable_number import Adjustable


class TeacherKept(JaxStateHook, keras.Model):
    """A model whose step reads the variables of a `teacher`, and does not lose them.

    On JAX, Keras takes the values out of all variables that a step reads, lets the step use their
    memory up, and puts values back when the epoch is over. In this class the teacher's variables
    keep their values, and values that were taken are put back also if a first step, `evaluate` or
    `predict` fails. No file and no checkpoint of the model holds the teacher.
    """

    _validating = False

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """The model's own, then all others that a step reads: on JAX they are the step's state."""
        own = super().non_trainable_variables
        read = [] if self.teacher is None else list(self.teacher.variables)
        read += [adjustable.variable for adjustable in self._adjustables()]
        known = {id(variable) for variable in [*own, *self.trainable_variables]}
        return own + [variable for variable in read if id(variable) not in known]

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras tracks the models that are assigned to it; the teacher is not to be trained.
        object.__setattr__(self, name, value) if name == "teacher" else super().__setattr__(
            name, value
        )

    def __dir__(self) -> list[str]:
        # Keras saves whatever `dir` lists; a checkpoint is not to carry the teacher.
        return [name for name in super().__dir__() if name != "teacher"]

    def test_step(self, *args: Any) -> Any:
        with self._in_validation():
            return super().test_step(*args)

    @contextlib.contextmanager
    def _in_validation(self) -> Iterator[None]:
        """Context in which the logs have no losses of the training."""
        before, self._validating = self._validating, True
        try:
            yield
        finally:
            self._validating = before

    def _compile_anew(self) -> None:
        """Lets the next step be another one, also within a `fit` that has begun."""
        if self.train_function is not None:
            self.make_train_function(force=True)

    def _adjustables(self) -> Sequence[Adjustable]:
        """The numbers that a step reads and that may change between steps."""
        return ()

    def changed_jax_state(self, parts: dict[str, list], purges: bool) -> dict[str, list]:
        variables = [] if self.teacher is None else self.teacher.variables
        of_teacher = {id(variable) for variable in variables}
        if "non_trainable_variables" not in parts:
            return parts
        arrays, teachers = parts["non_trainable_variables"], []
        for place, variable in enumerate(self.non_trainable_variables):
            if id(variable) in of_teacher:
                teachers.append((variable, arrays[place]))
                arrays[place] = _copy(arrays[place])
        given = {id(array) for part in parts.values() for array in part}
        for variable, array in teachers:
            # A student that was started from its teacher by `assign` has the very same arrays.
            set_value(variable, _copy(array) if id(array) in given else array)
        if purges:
            self.remember_jax_state(parts)
        return parts

    def _state_scope(self, *state: Any) -> contextlib.AbstractContextManager[Any]:
        """On JAX, the context in which the variables have the values that the step was given."""
        if not state:
            return contextlib.nullcontext()
        trainable, non_trainable = state[0][:2]
        mapping = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, non_trainable, strict=True),
        ]
        return keras.StatelessScope(state_mapping=mapping)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the student's outputs, as `keras.Model.predict` does; the teacher does not run.

        Args:
            *args: Arguments of `keras.Model.predict`.
            **kwargs: Arguments of `keras.Model.predict`.
        """
        with untuned_passes(), self._put_back():
            return super().predict(*args, **kwargs)

    @contextlib.contextmanager
    def _put_back(self) -> Iterator[None]:
        """Context after which, on JAX, all variables have values again."""
        try:
            yield
        finally:
            if keras.backend.backend() == "jax":
                self.jax_state_sync()


def _copy(array):
    return heavy_libraries.jax().numpy.copy(array)
