"""The tables of one dynamic-dimension embedding variable: one a block, and one moment for all when they are saved.

A key has as many blocks as its dimension asks for, so every block has a table of its own, with the keys and the
optimizer slots that it needs and no other.  DeepRec keeps all blocks in one hash table instead; what a program
and a checkpoint see is the same.

Source: ``emb_index`` and ``block_num`` in tensorflow/core/kernels/kv_variable_ops.cc of DeepRec.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kvarn.ops.kv_resource import SharedTable

# The methods of an embedding table that change it.
_CHANGES: Final = (
    "add_slot",
    "apply",
    "clear",
    "commit_import",
    "create_from",
    "evict",
    "import_columns",
    "import_filtered",
    "import_rows",
    "lookup_or_create",
    "remove",
    "set_default",
)


class BlockFamily:
    """The tables of all blocks by ``emb_index``.

    Changes of different tables run side by side; `standing_still` keeps all of them out.
    """

    def __init__(self) -> None:
        self._tables: dict[int, SharedTable] = {}
        self._condition = threading.Condition()
        self._changes = 0
        self._cuts = 0
        self._own = threading.local()

    def block(self, emb_index: int, make: Callable[[], SharedTable]) -> SharedTable:
        """The table of a block, made on its first use."""
        with self._condition:
            if emb_index not in self._tables:
                shared = make()
                shared.family = self
                for method in _CHANGES:
                    change = getattr(shared.table, method, None)
                    if change is not None:
                        setattr(shared.table, method, self._as_change(change))
                self._tables[emb_index] = shared
            return self._tables[emb_index]

    def _as_change(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def change(*args: Any, **kwargs: Any) -> Any:
            with self._changing():
                return method(*args, **kwargs)

        return change

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        # A change that a method makes on the way, or that the thread that cuts makes itself, waits for nobody.
        if getattr(self._own, "inside", False):
            yield
            return
        with self._condition:
            self._condition.wait_for(lambda: not self._cuts)
            self._changes += 1
        self._own.inside = True
        try:
            yield
        finally:
            self._own.inside = False
            with self._condition:
                self._changes -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """No table of the family changes inside, but by this thread: changes under way are awaited, others wait."""
        if getattr(self._own, "inside", False):
            yield
            return
        with self._condition:
            self._condition.wait_for(lambda: not self._cuts)
            self._cuts += 1
            self._condition.wait_for(lambda: not self._changes)
        self._own.inside = True
        try:
            yield
        finally:
            self._own.inside = False
            with self._condition:
                self._cuts -= 1
                self._condition.notify_all()


@contextlib.contextmanager
def standing_still(tables: Iterable[SharedTable]) -> Iterator[None]:
    """Inside, the blocks of every dynamic-dimension variable among ``tables`` stay as they are together.

    Take the snapshots inside, which is quick, and write them outside.  Tables that are no blocks go on: each has
    one snapshot, which needs no help.
    """
    families = {id(t.family): t.family for t in tables if t.family is not None}
    with contextlib.ExitStack() as stack:
        # In one order, so that two saves at once cannot wait for each other.
        for _, family in sorted(families.items()):
            stack.enter_context(family.standing_still())
        yield
