"""mypy plugin: the class under ``@op(...)`` becomes a function that adds a node, so a call of it may return anything.

mypy ignores what class decorators return; without this, every call of an op would be the construction of a class
without arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import ClassDefContext, Plugin


def _calls_return_anything(context: ClassDefContext) -> None:
    context.cls.info.fallback_to_any = True


class OpsPlugin(Plugin):
    def get_class_decorator_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        return _calls_return_anything if fullname == "kvarn.graph.op.op" else None


def plugin(version: str) -> type[OpsPlugin]:
    return OpsPlugin
