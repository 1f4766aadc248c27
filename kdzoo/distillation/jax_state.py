"""What a step on JAX is handed and gives back: the values of all variables that it reads."""

import contextlib

import keras

_PARTS = ("trainable", "non_trainable", "optimizer", "metrics")


class TeacherKept:
    """A `keras.Model` whose step reads the variables of a `teacher` that it must not lose.

    On JAX, Keras takes the values out of all variables that a step reads, lets the step use their
    memory up, and puts values back when the epoch is over. Here the teacher's variables keep
    theirs, and what was taken is put back too if a first step, `evaluate` or `predict` fails.
    """

    @property
    def non_trainable_variables(self):
        """The distiller's own, then all else that a step reads: on JAX it is the step's state."""
        own = super().non_trainable_variables
        read = [] if self.teacher is None else list(self.teacher.variables)
        read += [adjustable.variable for adjustable in self._adjustables()]
        known = {id(variable) for variable in [*own, *self.trainable_variables]}
        return own + [variable for variable in read if id(variable) not in known]

    def _get_jax_state(self, **wanted):
        variables = [] if self.teacher is None else self.teacher.variables
        of_teacher = {id(variable) for variable in variables}
        state = [list(part) for part in super()._get_jax_state(**wanted)]
        names = [f"{part}_variables" for part in _PARTS if wanted.get(f"{part}_variables")]
        parts = dict(zip(names, state, strict=True))
        if "non_trainable_variables" not in parts:
            return tuple(state)
        arrays, teachers = parts["non_trainable_variables"], []
        for place, variable in enumerate(self.non_trainable_variables):
            if id(variable) in of_teacher:
                teachers.append((variable, arrays[place]))
                arrays[place] = _copy(arrays[place])
        given = {id(array) for part in state for array in part}
        for variable, array in teachers:
            # A student that was started from its teacher by `assign` has the very same arrays.
            variable._value = _copy(array) if id(array) in given else array
        if wanted.get("purge_model_variables"):
            self._jax_state = parts
        return tuple(state)

    def _state_scope(self, *state):
        """On JAX, the context in which the variables have the values that the step was given."""
        if not state:
            return contextlib.nullcontext()
        trainable, non_trainable = state[0][:2]
        mapping = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, non_trainable, strict=True),
        ]
        return keras.StatelessScope(state_mapping=mapping)

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`: the student's own loss and metrics; no teacher is asked."""
        with self._put_back():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """As `keras.Model.predict`: the student's answers."""
        with self._put_back():
            return super().predict(*args, **kwargs)

    @contextlib.contextmanager
    def _put_back(self):
        """Context after which, on JAX, all variables have values again."""
        try:
            yield
        finally:
            if keras.backend.backend() == "jax":
                self.jax_state_sync()


def _copy(array):
    import jax.numpy as jnp

    return jnp.copy(array)
