"""Makes ``import tensorflow`` and its submodules resolve to kvarn."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from kvarn.compat.tensorflow import absent, gen_ops, names, namespace

_PREFIXES = ("tensorflow", "tensorflow_core")
# No value: None is one, such as `newaxis`.
_MISSING = object()


class _ModuleView(ModuleType):
    """A module of TensorFlow's source tree: the attributes of the kvarn modules that hold its contents."""

    def __init__(self, name: str, targets: Sequence[str]) -> None:
        super().__init__(name)
        self.__dict__["_targets"] = targets
        self.__dict__["__path__"] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute {name!r}")
        known_as = names.alias(self.__name__.partition(".")[2], name)
        if known_as is not None:
            found = self.__dict__[name] = namespace.load(known_as)
            return found
        for target in self.__dict__["_targets"]:
            if target == "protos":
                found = _proto(name)
                found = _MISSING if found is None else found
            elif target.startswith("tf:") or target == "tf":
                space = target[3:]
                wanted, inner = names.find(space, name), f"{space}.{name}".lstrip(".")
                if wanted is not None:
                    found = namespace.load(wanted)
                else:
                    found = namespace.module_of(inner) if inner in names.NAMESPACES else _MISSING
            else:
                found = getattr(importlib.import_module(target), name, _MISSING)
            if found is not _MISSING:
                if not isinstance(found, bool):  # a switch may be turned over
                    self.__dict__[name] = found
                return found
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'.{namespace.advice(name)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
            return
        # What a program replaces is to be replaced where it is used.
        replaced = self.__dict__.setdefault("_replaced", {})
        for target in self.__dict__["_targets"]:
            module = sys.modules.get(target)
            if name not in replaced and module is not None and name in vars(module):
                replaced[name] = module, getattr(module, name)
        if name in replaced:
            setattr(replaced[name][0], name, value)
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        module, original = self.__dict__.get("_replaced", {}).pop(name, (None, None))
        if module is not None:
            setattr(module, name, original)
        super().__delattr__(name)


def _proto(name: str) -> Any:
    from kvarn import protos

    try:
        return getattr(protos, name)
    except AttributeError:
        pass
    codes = protos.enum("tensorflow.error.Code")
    return codes if name == "Code" else dict(codes.items()).get(name)


class _Loader(importlib.abc.Loader):
    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass


class TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Finds ``tensorflow`` and every module below it that kvarn knows."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        root, _, rest = fullname.partition(".")
        if root not in _PREFIXES:
            return None
        module = self.module("tensorflow" + ("." + rest if rest else ""), rest)
        if module is None:
            raise ModuleNotFoundError(
                f"No module named '{fullname}'.{_module_advice(fullname)}", name=fullname
            )
        return importlib.machinery.ModuleSpec(fullname, _Loader(module), is_package=True)

    @staticmethod
    def module(fullname: str, rest: str) -> ModuleType | None:
        """The module of a name; None if TensorFlow has none that kvarn knows.

        Args:
          fullname: with ``tensorflow`` in front.
          rest: without.
        """
        if not rest:
            return namespace.module_of("")
        targets = names.MODULES.get(rest)
        if targets is not None:
            if rest in names.DECLARING:
                for target in targets:
                    importlib.import_module(target)
            return _ModuleView(fullname, targets)
        if rest in names.NAMESPACES:
            return namespace.module_of(rest)
        for prefix in ("_api.v1.", "compat.v1."):
            if rest.startswith(prefix) and rest[len(prefix) :] in names.NAMESPACES:
                return namespace.module_of(rest[len(prefix) :])
        if rest in ("compat.v1", "_api", "_api.v1"):
            return namespace.module_of("")
        if rest.startswith("core.") and rest.endswith("_pb2"):
            return _ModuleView(fullname, ("protos",))
        if rest.startswith(gen_ops.PREFIXES):
            return gen_ops.GeneratedOps(fullname)
        if any(known.startswith(rest + ".") for known in names.MODULES):
            return _ModuleView(fullname, ())
        if absent.exists(rest):
            return absent.AbsentModule(fullname)
        return None


def _module_advice(fullname: str) -> str:
    import difflib

    known = ["tensorflow." + m for m in [*names.MODULES, *names.NAMESPACES] if m]
    near = difflib.get_close_matches(fullname, known, n=3, cutoff=0.6)
    return " kvarn does not have it" + (f"; nearest: {', '.join(near)}" if near else "")


def install() -> None:
    """Puts kvarn in the place of TensorFlow for every later import of the process.

    Raises:
      ImportError: a real TensorFlow has been imported already.
    """
    loaded = sys.modules.get("tensorflow")
    if loaded is not None and not isinstance(loaded, namespace.Namespace):
        raise ImportError(
            "tensorflow is imported already; install kvarn's names before it, or use `import kvarn as tf`"
        )
    if not any(isinstance(f, TensorFlowFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, TensorFlowFinder())


def uninstall() -> None:
    """Takes kvarn's modules out of TensorFlow's place again."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, TensorFlowFinder)]
    for name in [n for n in sys.modules if n.partition(".")[0] in _PREFIXES]:
        if isinstance(
            sys.modules[name], (namespace.Namespace, _ModuleView, absent.AbsentModule, gen_ops.GeneratedOps)
        ):
            del sys.modules[name]
