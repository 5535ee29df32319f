import pickle

import pytest

from ndpsim import errors
from ndpsim.errors import ConfigError, InputError, NdpsimError, SimulationError, nearest, unknown


def every_error(base=NdpsimError):
    yield base
    for error_type in base.__subclasses__():
        yield from every_error(error_type)


@pytest.mark.parametrize("error_type", sorted(set(every_error()), key=lambda t: t.__name__))
def test_an_error_survives_rebuilding_and_pickling(error_type):
    error = error_type("edge.yaml:3", "seed: expected a whole number")
    for copy in (type(error)(*error.args), pickle.loads(pickle.dumps(error))):
        assert type(copy) is error_type
        assert copy.args == error.args
        assert str(copy) == "edge.yaml:3: seed: expected a whole number"


def test_an_error_is_bad_input_or_a_failed_simulation():
    kinds = {t for t in every_error() if t.__module__ == errors.__name__} - {NdpsimError}
    assert all(issubclass(kind, InputError) != issubclass(kind, SimulationError) for kind in kinds)


def test_an_unknown_name_lists_the_known_and_the_nearest():
    error = unknown("edge.yaml:9", "cache", "lruu", ["pinned", "lru", "lfu"])
    assert isinstance(error, ConfigError)
    assert str(error) == (
        "edge.yaml:9: unknown cache 'lruu'; known: lfu, lru, pinned; did you mean 'lru'?"
    )


def test_nothing_near_gives_no_hint():
    assert nearest("zzz", ["lru", "lfu"]) == ""
    assert str(unknown("x", "gpu", "a", [])) == "x: unknown gpu 'a'; known: none"
