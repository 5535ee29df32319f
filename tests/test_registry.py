import sys
from importlib.metadata import EntryPoint

import pytest

from ndpsim import registry
from ndpsim.errors import ConfigError, UnknownName


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch):
    shelves = {kind: registry._Shelf() for kind in registry.KINDS}
    monkeypatch.setattr(registry, "_shelves", shelves)


class Distribution:
    def __init__(self, name):
        self.name, self.version = name, "1.2"


def plugin(monkeypatch, *points):
    """Entry points (name, value, distribution), as installed packages declare them."""
    made = []
    for name, value, distribution in points:
        point = EntryPoint(name, value, "ndpsim.cache")
        vars(point)["dist"] = Distribution(distribution)
        made.append(point)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: made if group == "ndpsim.cache" else []
    )


def test_a_registered_class_is_found_and_knows_its_name():
    @registry.register("cache", "mine")
    class Mine:
        pass

    assert registry.lookup("cache", "mine") is Mine
    assert (Mine.kind, Mine.name) == ("cache", "mine")
    assert registry.names("cache") == ["mine"]
    assert registry.origin("cache", "mine").startswith(__name__)


def test_a_second_class_of_that_name_is_refused_and_both_origins_are_named():
    @registry.register("cache", "mine")
    class First:
        pass

    with pytest.raises(ConfigError) as caught:

        @registry.register("cache", "mine")
        class Second:
            pass

    assert "First" in str(caught.value)
    assert "Second" in str(caught.value)
    assert registry.lookup("cache", "mine") is First


def test_an_unknown_name_lists_the_known_and_the_nearest():
    registry.register("cache", "lru")(type("Lru", (), {}))
    registry.register("cache", "pinned")(type("Pinned", (), {}))
    with pytest.raises(UnknownName, match="known: lru, pinned; did you mean 'lru'"):
        registry.lookup("cache", "lruu")


def test_an_unknown_kind_lists_the_kinds():
    for ask in (registry.names, lambda kind: registry.register(kind, "x")):
        with pytest.raises(UnknownName, match="known: cache, dispatch, partition, prefetch"):
            ask("caches")


def test_built_ins_are_imported_at_the_first_look_up(tmp_path, monkeypatch):
    package = tmp_path / "some_built_ins"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "first.py").write_text(
        "from ndpsim.registry import register\n@register('dispatch', 'first')\nclass First: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.register_package("dispatch", "some_built_ins")
    assert "some_built_ins" not in sys.modules
    assert registry.names("dispatch") == ["first"]
    assert registry.lookup("dispatch", "first").__name__ == "First"


def test_a_plugin_loads_when_asked_for(monkeypatch):
    plugin(monkeypatch, ("ghost", "collections:OrderedDict", "ghost_pkg"))
    monkeypatch.setattr(EntryPoint, "load", lambda self: type("Ghost", (), {}))
    assert registry.names("cache") == ["ghost"]
    first = registry.lookup("cache", "ghost")
    assert registry.lookup("cache", "ghost") is first
    assert registry.origin("cache", "ghost") == "ghost_pkg 1.2 (collections:OrderedDict)"


def test_a_broken_plugin_fails_only_when_asked_for_and_its_distribution_is_named(monkeypatch):
    plugin(monkeypatch, ("ghost", "no_such_module_anywhere:Ghost", "ghost_pkg"))
    registry.register("cache", "lru")(type("Lru", (), {}))
    assert registry.names("cache") == ["ghost", "lru"]
    assert registry.lookup("cache", "lru").__name__ == "Lru"
    with pytest.raises(ConfigError, match=r"ghost_pkg 1\.2") as caught:
        registry.lookup("cache", "ghost")
    assert "no_such_module_anywhere" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plugin_may_not_take_a_name_in_use(monkeypatch):
    registry.register("cache", "lru")(type("Lru", (), {}))
    plugin(monkeypatch, ("lru", "a:B", "ghost_pkg"), ("two", "a:B", "one"), ("two", "a:B", "other"))
    with pytest.raises(ConfigError, match=r"registered twice: by .*Lru and by ghost_pkg 1.2"):
        registry.lookup("cache", "lru")
    with pytest.raises(ConfigError, match=r"registered twice: by one 1.2 .* and by other 1.2"):
        registry.lookup("cache", "two")
