"""Which names of TensorFlow a program uses, and which of them kvarn has: found out without running it.

The program is parsed, and so are the modules beside it that it imports.  A name is followed through imports,
``import tensorflow.compat.v1 as tf``, through plain assignments, ``layers = tf.layers``, and from one file to the
next; whether kvarn has it is asked where a running program would ask (`importer`), so that the two agree.  What is
passed to functions or kept in objects is not followed.
"""

from __future__ import annotations

import ast
import os
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from kvarn.compat.tensorflow import absent
from kvarn.compat.tensorflow.importer import TensorFlowFinder

_ROOTS: Final = ("tensorflow", "tensorflow_core")
# What a `try` around an import catches, for a TensorFlow that lacks something.
_CATCHING: Final = frozenset(
    ("ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "BaseException")
)


@dataclass(slots=True)
class UsedName:
    """One name of TensorFlow that a program uses.

    Attributes:
      name: in full, ``tensorflow.train.Saver``.
      covered: kvarn has it.
      guarded: it is only used where the program does without: in a `try` that catches its absence, or by
        `getattr` with a default.
      places: (file, line), in the order of the text.
      why: of one that is not covered.
    """

    name: str
    covered: bool
    guarded: bool
    places: list[tuple[str, int]]
    why: str = ""


def scan_program(path: str) -> list[UsedName]:
    """The names of TensorFlow in a program and in the modules beside it, sorted.

    Raises:
      OSError: there is no such file, or it is no Python.
    """
    program = _Program(os.path.dirname(os.path.abspath(path)))
    program.read(path)
    found: dict[str, UsedName] = {}
    for file in list(program.files.values()):
        for use in _Uses(program, file).uses:
            parts, why = program.resolve(use.parts)
            if why is None:
                continue
            name = ".".join(parts)
            known = found.setdefault(name, UsedName(name, not why, True, [], why))
            known.guarded &= use.guarded
            if (file.shown, use.line) not in known.places:
                known.places.append((file.shown, use.line))
    return [found[name] for name in sorted(found)]


# What kvarn has ------------------------------------------------------------------------------------------


def _resolve(parts: Sequence[str], imported: set[str]) -> tuple[Sequence[str], str | None]:
    """As many parts of a dotted name as can be told of, and why kvarn does not have it.

    The reason is empty if kvarn has it, and None for a module that can be imported, but not used.

    Args:
      imported: modules that the program imports somewhere, which makes them attributes of those around them.
    """
    found: Any = TensorFlowFinder.module("tensorflow", "")
    for n, part in enumerate(parts[1:], 1):
        if part == "*":
            return parts, "names have to be imported one by one"
        if isinstance(found, ModuleType):
            full = ".".join(parts[: n + 1])
            try:
                found = getattr(found, part)
            except AttributeError as e:
                module = TensorFlowFinder.module(full, full.partition(".")[2]) if full in imported else None
                if module is None:
                    return parts, _why(str(e))
                found = module
            except ImportError as e:
                return parts, str(e)
        elif isinstance(found, type):
            if not hasattr(found, part):
                return parts, f"'{'.'.join(parts[:n])}' has no '{part}'"
            found = getattr(found, part)
        else:
            # What objects have is known when the program runs.
            return parts[:n], ""
        if isinstance(found, absent.AbsentName):
            return parts, "kvarn does not have it"
    return parts, None if isinstance(found, absent.AbsentModule) else ""


def _why(message: str) -> str:
    return message.partition("'.")[2].strip() or "kvarn does not have it"


# Programs --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Use:
    parts: tuple[str, ...]
    line: int
    guarded: bool


@dataclass(eq=False, slots=True)
class _Expression:
    """What a name stands for that was assigned from another."""

    node: ast.expr


@dataclass(eq=False, slots=True)
class _FromFile:
    """A name of another file of the program."""

    file: _File
    name: str


# A name of TensorFlow, a file of the program, something to be looked up in turn, or None: anything else.
_Binding: TypeAlias = "tuple[str, ...] | _File | _Expression | _FromFile | None"


@dataclass(eq=False, slots=True)
class _Scope:
    """The names of a module, function, class or comprehension."""

    parent: _Scope | None
    is_class: bool = False
    names: dict[str, list[_Binding]] = field(default_factory=dict)
    # Those that a function takes from the module.
    elsewhere: set[str] = field(default_factory=set)

    def bind(self, name: str, to: _Binding) -> None:
        self.names.setdefault(name, []).append(to)


@dataclass(eq=False, slots=True)
class _File:
    """A file of the program, parsed."""

    path: str
    shown: str
    tree: ast.Module
    scopes: dict[ast.AST, _Scope]


_SCOPED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


class _Program:
    """The files of a program.

    Args:
      directory: where its modules are looked for.

    Attributes:
      imported: the modules of TensorFlow that are imported somewhere, those around them included.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.files: dict[str, _File] = {}
        self.imported: set[str] = set()
        self._resolved: dict[tuple[str, ...], tuple[Sequence[str], str | None]] = {}

    def read(self, path: str) -> _File:
        """Parses a file, and those that it imports."""
        path = os.path.abspath(path)
        if path in self.files:
            return self.files[path]
        shown = os.path.relpath(path, self._directory)
        try:
            with tokenize.open(path) as stream:
                tree = ast.parse(stream.read(), path)
        except (SyntaxError, UnicodeDecodeError, ValueError) as e:
            raise OSError(f"'{path}' cannot be read as Python: {e}") from e
        file = self.files[path] = _File(path, shown, tree, {})
        _Binder(self, file).bind()
        return file

    def resolve(self, parts: tuple[str, ...]) -> tuple[Sequence[str], str | None]:
        """`_resolve` of a name, worked out once; all files must have been read."""
        if parts not in self._resolved:
            self._resolved[parts] = _resolve(parts, self.imported)
        return self._resolved[parts]

    def note_import(self, module: str) -> None:
        """Remembers that a module of TensorFlow is imported, and with it those around it."""
        while module:
            self.imported.add(module)
            module = module.rpartition(".")[0]

    def module(self, name: str, near: str | None = None) -> _File | None:
        """The file of a module beside the program; None if it has none.

        Args:
          near: the directory to look in instead.
        """
        base = Path(near or self._directory, *name.split(".")) if name else Path(near or self._directory)
        for path in (base / "__init__.py", base.with_suffix(".py") if name else None):
            if path is not None and path.is_file():
                return self.read(str(path))
        return None


class _Binder(ast.NodeVisitor):
    """Finds out what the names of a file stand for, scope by scope."""

    def __init__(self, program: _Program, file: _File) -> None:
        self._program, self._file = program, file
        self._scope = _Scope(None)

    def bind(self) -> None:
        self._file.scopes[self._file.tree] = self._scope
        for statement in self._file.tree.body:
            self.visit(statement)

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, _SCOPED):
            super().generic_visit(node)
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._scope.bind(node.name, None)
        outer = self._scope
        self._scope = self._file.scopes[node] = _Scope(outer, isinstance(node, ast.ClassDef))
        super().generic_visit(node)
        self._scope = outer

    def visit_arg(self, node: ast.arg) -> None:
        self._scope.bind(node.arg, None)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._scope.bind(node.id, None)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._scope.bind(node.name, None)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.elsewhere.update(node.names)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and _is_chain(node.value):
                self._scope.bind(target.id, _Expression(node.value))
            elif not (isinstance(target, ast.Name) and _is_none(node.value)):
                # `tf = None` where an import has failed does not hide the other import.
                self.visit(target)

    # -- imports ----------------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root, _, rest = alias.name.partition(".")
            if root in _ROOTS:
                full = "tensorflow" + ("." + rest if rest else "")
                self._program.note_import(full)
                parts = tuple(full.split(".")) if alias.asname else ("tensorflow",)
                self._scope.bind(alias.asname or root, parts)
            else:
                file = self._program.module(alias.name)
                known = file if alias.asname else self._program.module(root)
                self._scope.bind(alias.asname or root, known)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        root, _, rest = (node.module or "").partition(".")
        if node.level == 0 and root in _ROOTS:
            full = "tensorflow" + ("." + rest if rest else "")
            self._program.note_import(full)
            for alias in node.names:
                inner = f"{full}.{alias.name}"
                if TensorFlowFinder.module(inner, inner.partition(".")[2]) is not None:
                    self._program.note_import(inner)
                self._scope.bind(alias.asname or alias.name, tuple(inner.split(".")))
            return
        near = None
        if node.level:
            near = str(Path(self._file.path).parents[node.level - 1])
        file = self._program.module(node.module or "", near)
        for alias in node.names:
            inner_file = self._program.module(".".join(filter(None, (node.module, alias.name))), near)
            if inner_file is not None:
                self._scope.bind(alias.asname or alias.name, inner_file)
            elif file is not None:
                self._scope.bind(alias.asname or alias.name, _FromFile(file, alias.name))
            else:
                self._scope.bind(alias.asname or alias.name, None)


class _Uses(ast.NodeVisitor):
    """The names of TensorFlow that a file uses.

    Attributes:
      uses: in the order of the text.
    """

    def __init__(self, program: _Program, file: _File) -> None:
        self._program, self._file = program, file
        self._scope = file.scopes[file.tree]
        self._guards = 0
        self.uses: list[_Use] = []
        self._looking: set[Any] = set()
        for statement in file.tree.body:
            self.visit(statement)

    def _note(self, found: Iterable[Any], line: int, guarded: bool = False) -> None:
        meant = [parts for parts in found if isinstance(parts, tuple)]
        if meant:
            # Of several, as after `try: import … except ImportError: import …`, the first that is there.
            there = [parts for parts in meant if self._program.resolve(parts)[1] == ""]
            self.uses.append(_Use((there or meant)[0], line, guarded or self._guards > 0))

    # -- walking ----------------------------------------------------------------------------------

    def generic_visit(self, node: ast.AST) -> None:
        outer = self._scope
        self._scope = self._file.scopes.get(node, outer)
        super().generic_visit(node)
        self._scope = outer

    def visit_Try(self, node: ast.Try) -> None:
        catches = any(_catches(handler) for handler in node.handlers)
        self._guards += catches
        for statement in node.body:
            self.visit(statement)
        self._guards -= catches
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root, _, rest = alias.name.partition(".")
            if root in _ROOTS:
                self._note([("tensorflow", *filter(None, rest.split(".")))], node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        root, _, rest = (node.module or "").partition(".")
        if node.level or root not in _ROOTS:
            return
        module = ("tensorflow", *filter(None, rest.split(".")))
        for alias in node.names:
            parts = (*module, alias.name)
            # The import of something absent works; using it does not.
            if alias.name == "*" or _importable(parts, self._program.imported):
                self._note([module], node.lineno)
            if alias.name == "*" or not _importable(parts, self._program.imported):
                self._note([parts], node.lineno)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._note((p for p in self._values(node) if p != ("tensorflow",)), node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_chain(node):
            self._note(self._values(node), node.lineno)
        else:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr") and len(node.args) > 1:
            of, name = node.args[:2]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and _is_chain(of):
                guarded = node.func.id == "hasattr" or len(node.args) > 2
                found = [(*p, *name.value.split(".")) for p in self._values(of) if isinstance(p, tuple)]
                self._note(found, node.lineno, guarded)
                for argument in node.args[2:]:
                    self.visit(argument)
                return
        self.generic_visit(node)

    # -- what names stand for ---------------------------------------------------------------------

    def _values(self, node: ast.expr, scope: _Scope | None = None) -> list[Any]:
        """The names of TensorFlow, or files, that a chain of names may mean; empty if it may be anything else."""
        scope = self._scope if scope is None else scope
        if isinstance(node, ast.Attribute):
            found = []
            for value in self._values(node.value, scope):
                if isinstance(value, tuple):
                    found.append((*value, node.attr))
                else:
                    found += self._of_file(value, node.attr)
            return found
        assert isinstance(node, ast.Name)
        return self._lookup(scope, node.id)

    def _lookup(self, scope: _Scope | None, name: str) -> list[Any]:
        at, inside = scope, True
        while at is not None:
            if name in at.names and name not in at.elsewhere and (inside or not at.is_class):
                return self._bound(at, name)
            at, inside = at.parent, False
        return []

    def _bound(self, scope: _Scope, name: str) -> list[Any]:
        """What a name of a scope stands for, if that is the same sort of thing in all places where it is bound."""
        if (scope, name) in self._looking:
            return []
        self._looking.add((scope, name))
        found: list[Any] = []
        for binding in scope.names[name]:
            if isinstance(binding, _Expression):
                # What `x = x.y` takes is the x outside.
                values = self._values(binding.node, scope)
            elif isinstance(binding, _FromFile):
                values = self._of_file(binding.file, binding.name)
            else:
                values = [] if binding is None else [binding]
            if not values:
                found = []
                break
            found += values
        self._looking.discard((scope, name))
        return found

    def _of_file(self, file: Any, name: str) -> list[Any]:
        return self._lookup(file.scopes[file.tree], name)


def _importable(parts: tuple[str, ...], imported: set[str]) -> bool:
    """Whether `from … import …` of the last part works; that of something absent does."""
    found: Any = TensorFlowFinder.module(".".join(parts[:-1]), ".".join(parts[1:-1]))
    if found is None:
        return False
    if ".".join(parts) in imported:
        return True
    try:
        getattr(found, parts[-1])
    except (AttributeError, ImportError):
        return False
    return True


def _is_chain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _catches(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(k is None or (isinstance(k, ast.Name) and k.id in _CATCHING) for k in kinds)
