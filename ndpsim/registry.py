"""Policies by kind and name: one decorator, built-ins and plugins looked up on first use.

Packages add policies by entry points ``ndpsim.<kind>``; a plugin loads, and can fail, only when it
is asked for. A class in a file of one's own goes by ``PATH.py:Class`` and needs no registration.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final, TypeVar

from ndpsim.errors import ConfigError, unknown

KINDS: Final = ("partition", "dispatch", "prefetch", "cache")
"""What can be registered."""

T = TypeVar("T")


@dataclass
class _Shelf:
    """What is known of one kind."""

    items: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)
    """Packages whose modules register built-ins and are not imported yet."""
    plugins: dict[str, list[EntryPoint]] | None = None
    """Entry points by name, once read from the installed distributions."""


_shelves: Final = {kind: _Shelf() for kind in KINDS}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Adds the decorated class under a name used in YAML; it learns its `kind` and `name`.

    Raises
    ------
    ConfigError
        The name is taken; both origins are named.
    """
    shelf = _shelf(kind)

    def add(item: T) -> T:
        origin = _origin(item)
        taken = shelf.origins.get(name)
        if taken is not None and taken != origin:
            raise ConfigError(kind, f"'{name}' is registered twice: by {taken} and by {origin}")
        for attribute, value in (("kind", kind), ("name", name)):
            setattr(item, attribute, value)
        shelf.items[name] = item
        shelf.origins[name] = origin
        return item

    return add


def register_package(kind: str, package: str) -> None:
    """Names a package whose modules register built-ins of a kind; imported at the first look-up."""
    shelf = _shelf(kind)
    if package not in shelf.packages:
        shelf.packages.append(package)


def lookup(kind: str, name: str) -> Any:
    """What is registered under a name.

    Raises
    ------
    UnknownName
        Nothing is; the message lists the known names and the nearest.
    ConfigError
        A plugin of that name cannot be loaded; its distribution is named.
    """
    shelf = _load_built_ins(kind)
    plugins = _plugins(kind).get(name, [])
    origins = dict.fromkeys(_distribution(point) for point in plugins)
    if name in shelf.items:
        origins = dict.fromkeys([shelf.origins[name], *origins])
    if len(origins) > 1:
        raise ConfigError(kind, f"'{name}' is registered twice: by {' and by '.join(origins)}")
    if name in shelf.items:
        return shelf.items[name]
    if is_path(name):
        return _load_file(kind, name)
    if not plugins:
        raise unknown(kind, kind, name, names(kind))
    return _load_plugin(kind, name, plugins[0])


def is_path(name: str) -> bool:
    """Whether a name is ``PATH.py:Class``."""
    path, _, attribute = name.rpartition(":")
    return path.endswith(".py") and attribute.isidentifier()


def source_of(item: type) -> str | None:
    """The text of the module that defines a class; None for the package's own classes.

    Raises
    ------
    ConfigError
        It cannot be read, so a run with it could not be told from another.
    """
    module = sys.modules.get(item.__module__)
    if item.__module__.partition(".")[0] == "ndpsim":
        return None
    text = getattr(module, "__ndpsim_source__", None)
    if text is not None:
        return str(text)
    try:
        return inspect.getsource(module) if module is not None else inspect.getsource(item)
    except (OSError, TypeError) as error:
        raise ConfigError(
            item.__module__, f"the source of {item.__qualname__} cannot be read; put it in a file"
        ) from error


def names(kind: str) -> list[str]:
    """Every known name of a kind, sorted; plugins are named without being loaded."""
    return sorted({*_load_built_ins(kind).items, *_plugins(kind)})


def origin(kind: str, name: str) -> str:
    """Where a name comes from: the module that registered it, or a plugin's distribution."""
    shelf = _load_built_ins(kind)
    if name in shelf.origins:
        return shelf.origins[name]
    plugins = _plugins(kind).get(name)
    if not plugins:
        raise unknown(kind, kind, name, names(kind))
    return _distribution(plugins[0])


def _shelf(kind: str) -> _Shelf:
    if kind not in _shelves:
        raise unknown("registry", "kind", kind, KINDS)
    return _shelves[kind]


def _load_built_ins(kind: str) -> _Shelf:
    shelf = _shelf(kind)
    for package in list(shelf.packages):
        path = import_module(package).__path__
        for module in sorted(found.name for found in iter_modules(path)):
            import_module(f"{package}.{module}")
        if package in shelf.packages:
            shelf.packages.remove(package)
    return shelf


def _plugins(kind: str) -> dict[str, list[EntryPoint]]:
    shelf = _shelf(kind)
    if shelf.plugins is None:
        shelf.plugins = {}
        for point in entry_points(group=f"ndpsim.{kind}"):
            shelf.plugins.setdefault(point.name, []).append(point)
    return shelf.plugins


def _load_plugin(kind: str, name: str, point: EntryPoint) -> Any:
    try:
        item = point.load()
    except Exception as error:  # a plugin may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            kind, f"the plugin '{name}' of {_distribution(point)} cannot be loaded: {reason}"
        ) from error
    shelf = _shelf(kind)
    if name not in shelf.items:
        register(kind, name)(item)
    shelf.origins[name] = _distribution(point)
    return shelf.items[name]


def _load_file(kind: str, name: str) -> Any:
    """The class of a file; its name is what it was asked for by."""
    path, _, attribute = name.rpartition(":")
    module = _module_of(kind, Path(path))
    own = {k: v for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    policies = {k: v for k, v in own.items() if getattr(v, "kind", None) == kind}
    if attribute not in policies:
        raise unknown(kind, f"{kind} class in {path}", attribute, policies)
    item = policies[attribute]
    item.name = name
    return item


def _module_of(kind: str, path: Path) -> ModuleType:
    """A file as a module, loaded once per content."""
    try:
        source = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(kind, f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(kind, f"{path} cannot be read: {error}") from error
    digest = hashlib.sha256(f"{path}\n{source}".encode()).hexdigest()[:16]
    module_name = f"{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    module = ModuleType(module_name)
    module.__file__ = str(path)
    module.__dict__["__ndpsim_source__"] = source
    sys.modules[module_name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:  # a user's file may fail in any way
        del sys.modules[module_name]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(kind, f"{path} cannot be loaded: {reason}") from error
    return module


def _distribution(point: EntryPoint) -> str:
    dist = point.dist
    label = f"{dist.name} {dist.version}" if dist is not None else "an unnamed distribution"
    return f"{label} ({point.value})"


def _origin(item: object) -> str:
    module = getattr(item, "__module__", "?")
    return f"{module}.{getattr(item, '__qualname__', repr(item))}"
