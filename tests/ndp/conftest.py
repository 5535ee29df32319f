import pytest

from ndpsim.memo import Memo
from ndpsim.ndp import NdpSpec
from ndpsim.spec import load_preset


@pytest.fixture(scope="session")
def dimm():
    """Hermes' NDP-DIMM: four ranks of DDR4-3200 (102.4 GB/s), 256 MACs at 1 GHz."""
    return load_preset("ndp", "hermes-dimm", NdpSpec)


@pytest.fixture(scope="session")
def memo():
    """One memory for the session: what a stream costs is computed once."""
    return Memo()
