"""Functions that make their variables at the first call and share them at every later one.

Source: tensorflow/python/ops/template.py (1.15).
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kvarn.graph.graph import GraphKeys, get_collection, get_collection_ref
from kvarn.variables import scope as variable_scope_lib
from kvarn.variables.captured_dependencies import capture_dependencies
from kvarn.variables.trackable import Trackable

_T = TypeVar("_T")


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> Template:
    """A function that calls ``func_`` in one variable scope, so that all calls share its variables.

    Args:
      name_: of the scope; made unique.
      func_: makes its variables with `get_variable`.
      create_scope_now_: whether the scope is made here rather than at the first call.
      unique_name_: instead of ``name_``, and used as it is.
      custom_getter_: for the variables of ``func_``.
      kwargs: given to every call of ``func_``.

    Raises:
      ValueError: ``name_`` is None.
    """
    if kwargs:
        func_ = functools.partial(func_, **kwargs)
    return Template(name_, func_, create_scope_now_, unique_name_, custom_getter_)


class Template(Trackable):
    """See `make_template`; its variables, and the templates that it calls, are its dependencies.

    Attributes:
      name: the name it was made with.
      func: the function called.
      variable_scope: its scope; None before there is one.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        create_scope_now: bool = False,
        unique_name: str | None = None,
        custom_getter: Callable[..., Any] | None = None,
    ) -> None:
        if name is None:
            raise ValueError("name cannot be None.")
        self.name = name
        self.func = func
        self.variable_scope: Any = None
        self._unique_name = unique_name
        self._custom_getter = custom_getter
        self._made_at = traceback.extract_stack()[:-2]
        self._variables_created = False
        self._first_call = True
        if create_scope_now:
            own = unique_name or variable_scope_lib._get_unique_variable_scope(name)
            with variable_scope_lib._pure_variable_scope(own, custom_getter=custom_getter) as scope:
                self.variable_scope = scope

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns.

        Raises:
          ValueError: a later call made a trainable variable; and what the function raises, with the place
            where the template was made added to the message.
        """
        if self.variable_scope is not None:
            with variable_scope_lib.variable_scope(self.variable_scope, reuse=not self._first_call):
                return self._call(args, kwargs)
        with variable_scope_lib.variable_scope(
            self._unique_name, self.name, custom_getter=self._custom_getter
        ) as scope:
            self.variable_scope = scope
            return self._call(args, kwargs)

    def _call(self, args: Any, kwargs: Any) -> Any:
        try:
            if self._variables_created:
                return self._call_again(args, kwargs)
            # Only a call that comes to its end has made all variables.
            self._first_call = False
            try:
                with capture_dependencies(template=self):
                    result = self.func(*args, **kwargs)
            except BaseException:
                self._first_call = True
                raise
            self._variables_created = True
            return result
        except Exception as e:
            made_at = _skip_common_stack_elements(self._made_at, traceback.extract_stack())
            place = "".join(traceback.format_list(made_at))
            first = e.args[0] if e.args else ""
            e.args = (f"{first}\n\noriginally defined at:\n{place}", *e.args[1:])
            raise

    def _call_again(self, args: Any, kwargs: Any) -> Any:
        before = len(get_collection_ref(GraphKeys.TRAINABLE_VARIABLES))
        result = self.func(*args, **kwargs)
        now = get_collection_ref(GraphKeys.TRAINABLE_VARIABLES)
        if len(now) != before:
            raise ValueError(
                "Trainable variable created when calling a template after the first time, perhaps you used "
                f"tf.Variable when you meant tf.get_variable: {now[before:]}"
            )
        return result

    @property
    def variable_scope_name(self) -> str | None:
        """The prefix of its variables' names, with a slash at its end; None without a scope."""
        if self.variable_scope is None:
            return None
        name: str = self.variable_scope.name
        return name if not name or name.endswith("/") else name + "/"

    def _collected(self, key: str) -> list[Any]:
        return list(get_collection(key, self.variable_scope_name)) if self._variables_created else []

    @property
    def global_variables(self) -> list[Any]:
        return self._collected(GraphKeys.GLOBAL_VARIABLES)

    @property
    def local_variables(self) -> list[Any]:
        return self._collected(GraphKeys.LOCAL_VARIABLES)

    @property
    def trainable_variables(self) -> list[Any]:
        return self._collected(GraphKeys.TRAINABLE_VARIABLES)

    @property
    def non_trainable_variables(self) -> list[Any]:
        trainable = self.trainable_variables
        return [v for v in self.global_variables if not any(v is t for t in trainable)]

    @property
    def variables(self) -> list[Any]:
        """The global and local variables."""
        return self.global_variables + self.local_variables

    @property
    def var_scope(self) -> Any:
        """The old name of ``variable_scope``."""
        return self.variable_scope

    weights = variables
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables


def _skip_common_stack_elements(stacktrace: Sequence[_T], base_case: Sequence[_T]) -> list[_T]:
    """The frames of ``stacktrace`` after those that it has in common with ``base_case``; its last one at least."""
    for at, (frame, other) in enumerate(zip(stacktrace, base_case, strict=False)):
        if frame != other:
            return list(stacktrace[at:])
    return list(stacktrace[-1:])
