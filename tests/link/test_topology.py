import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import ConfigError
from ndpsim.link import LinkGroup, LinkSpec, Topology, build_topology, effective_bytes_per_s
from ndpsim.spec import load_preset

PCIE, CHANNEL, DIMM_LINK = (
    load_preset("link", name, LinkSpec) for name in ("pcie5-x16", "ddr4-3200-channel", "dimm-link")
)


def edge(n_ndp: int = 4, n_channels: int = 2, *more: LinkGroup) -> Topology:
    groups = (
        LinkGroup(name="pcie", link=PCIE, ends=("host", "gpu")),
        LinkGroup(name="channel", link=CHANNEL, ends=("host", "ndp"), count=n_channels),
        *more,
    )
    return build_topology(groups, ("gpu", "host", *(f"ndp{i}" for i in range(n_ndp))))


def test_a_path_crosses_every_link_between_its_ends() -> None:
    topology = edge()
    down, up = topology.route("ndp3", "gpu"), topology.route("gpu", "ndp0")
    assert down.resources == ("channel1", "pcie.down")
    assert up.resources == ("pcie.up", "channel0")
    assert down.latency_ps == PCIE.latency + CHANNEL.latency
    assert down.setup_ps == PCIE.setup + CHANNEL.setup


def test_units_are_spread_over_channels_in_contiguous_blocks() -> None:
    topology = edge(n_ndp=5)
    channels = [topology.route("host", f"ndp{i}").resources for i in range(5)]
    assert channels == [("channel0",)] * 3 + [("channel1",)] * 2


def test_units_without_a_link_of_their_own_meet_at_the_host() -> None:
    topology = edge()
    assert topology.route("ndp0", "ndp1").resources == ("channel0", "channel0")
    assert topology.route("ndp0", "ndp3").resources == ("channel0", "channel1")


def test_a_link_between_equal_ends_is_a_switch() -> None:
    topology = edge(4, 2, LinkGroup(name="dimm-link", link=DIMM_LINK, ends=("ndp", "ndp")))
    route = topology.route("ndp0", "ndp3")
    assert route.resources == ("dimm-link.ndp0.out", "dimm-link.ndp3.in")
    assert route.latency_ps == DIMM_LINK.latency
    assert sum(topology.energy[name] for name in route.resources) == DIMM_LINK.energy
    assert topology.route("gpu", "ndp3").resources == ("pcie.up", "channel1")


def test_capacity_is_the_effective_bandwidth() -> None:
    capacity = edge().capacity
    assert capacity["pcie.up"] == capacity["pcie.down"] == effective_bytes_per_s(PCIE)
    assert capacity["channel1"] == effective_bytes_per_s(CHANNEL)


def test_a_device_reaches_itself_at_no_cost() -> None:
    route = edge().route("gpu", "gpu")
    assert (route.resources, route.latency_ps, route.setup_ps) == ((), 0, 0)


def test_a_topology_is_a_value() -> None:
    topology = edge()
    assert topology == edge()
    assert hash(topology) == hash(edge())
    assert pickle.loads(pickle.dumps(topology)) == topology


@given(n_ndp=st.integers(1, 16), n_channels=st.integers(1, 8))
def test_every_pair_has_a_route_over_known_resources_and_blocks_are_even(
    n_ndp: int, n_channels: int
) -> None:
    topology = edge(n_ndp, n_channels)
    for src in topology.devices:
        for dst in topology.devices:
            assert set(topology.route(src, dst).resources) <= topology.capacity.keys()
    used = [topology.route("host", f"ndp{i}").resources[0] for i in range(n_ndp)]
    assert used == sorted(used)
    sizes = [used.count(name) for name in set(used)]
    assert max(sizes) - min(sizes) <= 1


def test_disconnected_devices_are_named() -> None:
    groups = (LinkGroup(name="pcie", link=PCIE, ends=("host", "gpu")),)
    with pytest.raises(ConfigError, match="no path from 'gpu' to 'ndp0'"):
        build_topology(groups, ("gpu", "host", "ndp0"))


@pytest.mark.parametrize(
    ("group", "complaint"),
    [
        ({"ends": ("host", "npd")}, "no device 'npd'; devices: gpu, host, ndp0"),
        ({"ends": ("host", "gpu"), "count": 2}, "one device each"),
        ({"ends": ("ndp", "ndp"), "count": 2}, "one port for each device"),
        ({"ends": ("ndp", "ndp"), "link": CHANNEL}, "full-duplex"),
        ({"name": "pcie", "ends": ("host", "ndp")}, "two link groups are named 'pcie'"),
    ],
)
def test_a_group_that_cannot_be_built_says_why(group: dict[str, object], complaint: str) -> None:
    fields = {"name": "extra", "link": PCIE} | group
    pcie = LinkGroup(name="pcie", link=PCIE, ends=("host", "gpu"))
    with pytest.raises(ConfigError, match=complaint):
        build_topology((pcie, LinkGroup.model_validate(fields)), ("gpu", "host", "ndp0"))
