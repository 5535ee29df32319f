from collections import Counter

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import ConfigError
from ndpsim.link import (
    ALL_REDUCE,
    LinkGroup,
    LinkSpec,
    Sends,
    Topology,
    all_gather,
    all_reduce,
    all_to_all,
    all_to_all_rounds,
    broadcast,
    build_topology,
    gather,
    reduce,
    reduce_scatter,
    run_sends,
)
from ndpsim.spec import load_preset
from ndpsim.units import ps_for

RATE, LATENCY_PS, SETUP_PS = 100_000_000_000, 500_000, 2_000_000
ROUNDING_PS = 10
"""Shared rates are floored to whole bytes per second."""
PORT = LinkSpec.model_validate(
    {
        "lane_bandwidth": "100 GB/s",
        "duplex": "full",
        "latency": "500 ns",
        "setup": "2 us",
        "energy": "1 pJ/bit",
    }
)


def gpus(n: int) -> tuple[str, ...]:
    return tuple(f"gpu{i}" for i in range(n))


def switched(n: int) -> Topology:
    """`n` GPUs, each with a port of 100 GB/s each way on a switch that never blocks."""
    return build_topology((LinkGroup(name="nv", link=PORT, ends=("gpu", "gpu")),), gpus(n))


def sent(sends: Sends) -> Counter[str]:
    total: Counter[str] = Counter()
    for send in sends:
        total[send.src] += send.n_bytes
    return total


def steps_ps(n_steps: int, n_bytes: int) -> int:
    return SETUP_PS + n_steps * (LATENCY_PS + ps_for(n_bytes, RATE))


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_a_ring_all_reduce_moves_2_n_minus_1_over_n(n: int) -> None:
    n_bytes = 840_000 * n
    sends = ALL_REDUCE["ring"](gpus(n), n_bytes)
    assert sent(sends) == dict.fromkeys(gpus(n), 2 * (n - 1) * n_bytes // n)
    got = all_reduce(switched(n), gpus(n), n_bytes)
    assert got.duration_ps == steps_ps(2 * (n - 1), 840_000)
    assert dict(got.n_bytes)["nv.gpu0.out"] == 2 * (n - 1) * 840_000


@pytest.mark.parametrize("n", [2, 4, 8])
def test_half_an_all_reduce_is_a_reduce_scatter_or_an_all_gather(n: int) -> None:
    for collective in (reduce_scatter, all_gather):
        got = run_sends(switched(n), collective(gpus(n), 500_000 * n))
        assert got.duration_ps == steps_ps(n - 1, 500_000)


@pytest.mark.parametrize(("n", "rounds"), [(2, 1), (4, 2), (8, 3)])
def test_trees_take_as_many_rounds_as_doublings(n: int, rounds: int) -> None:
    for collective in (broadcast, reduce):
        sends = collective(gpus(n), 1_000_000)
        assert len(sends) == n - 1
        assert run_sends(switched(n), sends).duration_ps == steps_ps(rounds, 1_000_000)
    both = all_reduce(switched(n), gpus(n), 1_000_000, "tree")
    assert both.duration_ps == steps_ps(2 * rounds, 1_000_000)


def test_a_gather_is_limited_by_the_port_into_the_root() -> None:
    got = run_sends(switched(4), gather(gpus(4), 1_000_000))
    assert got.duration_ps == pytest.approx(steps_ps(1, 3_000_000), abs=ROUNDING_PS)
    assert dict(got.n_bytes)["nv.gpu0.in"] == 3_000_000


@pytest.mark.parametrize("n", [2, 4, 8])
def test_direct_exchanges_take_one_step(n: int) -> None:
    direct = all_reduce(switched(n), gpus(n), 1_000_000, "direct")
    expected_ps = pytest.approx(steps_ps(1, (n - 1) * 1_000_000), abs=ROUNDING_PS)
    assert direct.duration_ps == expected_ps
    exchanged = run_sends(switched(n), all_to_all(gpus(n), 1_000_000 * n))
    assert exchanged.duration_ps == expected_ps
    rounds = run_sends(switched(n), all_to_all_rounds(gpus(n), 1_000_000 * n))
    assert rounds.duration_ps == steps_ps(n - 1, 1_000_000)
    assert rounds.n_bytes == exchanged.n_bytes
    halves = all_reduce(switched(n), gpus(n), 1_000_000 * n, "two-step")
    assert halves.duration_ps == pytest.approx(steps_ps(2, (n - 1) * 1_000_000), abs=ROUNDING_PS)


def test_small_vectors_prefer_one_step_and_large_ones_the_ring() -> None:
    def fastest(n_bytes: int) -> str:
        times = {a: all_reduce(switched(8), gpus(8), n_bytes, a).duration_ps for a in ALL_REDUCE}
        return min(times, key=times.__getitem__)

    assert fastest(1024) == "direct"
    assert fastest(2**30) in ("ring", "two-step")


def test_a_shared_host_bridge_is_contended_for() -> None:
    """Both GPUs of a bridge cross it; a ring over four GPUs on two bridges crosses it each way."""
    groups = (
        LinkGroup(name="bridge", link=PORT, ends=("host", "gpu"), count=2),
        LinkGroup(name="root", link=PORT, ends=("host", "memory")),
    )
    topology = build_topology(groups, ("host", "memory", *gpus(4)))
    own = all_reduce(topology, ("gpu0", "gpu2"), 1_000_000)
    shared = all_reduce(topology, ("gpu0", "gpu1"), 1_000_000)
    assert own.duration_ps <= shared.duration_ps
    four = run_sends(topology, all_to_all(gpus(4), 4_000_000))
    assert dict(four.n_bytes)["bridge0.up"] == 2 * 3_000_000


@settings(max_examples=25)
@given(n=st.integers(2, 6), n_bytes=st.integers(1, 10_000), kind=st.sampled_from(list(ALL_REDUCE)))
def test_every_member_ends_with_every_members_bytes(n: int, n_bytes: int, kind: str) -> None:
    """Each member's contribution reaches every other over the causal order of the sends."""
    sends = ALL_REDUCE[kind](gpus(n), n_bytes)
    knows = {member: {member} for member in gpus(n)}
    for send in sends:
        knows[send.dst] |= knows[send.src]
    assert all(known == set(gpus(n)) for known in knows.values())
    moved = dict(run_sends(switched(n), sends).n_bytes)
    assert sum(v for r, v in moved.items() if r.endswith(".out")) == sum(sent(sends).values())


def test_bad_requests_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown algorithm 'rign'.*did you mean 'ring'"):
        all_reduce(switched(2), gpus(2), 1, "rign")
    with pytest.raises(ConfigError, match="no device 'gpu7'; devices: gpu0, gpu1"):
        all_reduce(switched(2), ("gpu0", "gpu7"), 1)
    alone = LinkGroup(name="a", link=PORT, ends=("gpu0", "gpu1"))
    with pytest.raises(ConfigError, match="no path from 'gpu0' to 'gpu2'"):
        build_topology((alone,), gpus(3))


TWO_NODES = """
- {name: left, link: nvlink4, ends: [left, left]}
- {name: right, link: nvlink4, ends: [right, right]}
- {name: network, link: infiniband-ndr, ends: [left0, right0]}
"""


def test_a_topology_is_a_graph_in_yaml_and_its_narrowest_link_rules() -> None:
    """Two nodes of four GPUs, NVLink inside, one InfiniBand link between."""
    groups = tuple(
        LinkGroup.model_validate(
            group | {"link": load_preset("link", group["link"], LinkSpec), "ends": group["ends"]}
        )
        for group in yaml.safe_load(TWO_NODES)
    )
    nodes = [tuple(f"{side}{i}" for i in range(4)) for side in ("left", "right")]
    topology = build_topology(groups, (*nodes[0], *nodes[1]))
    n_bytes = 2**28
    inside = all_reduce(topology, nodes[0], n_bytes)
    across = all_reduce(topology, (*nodes[0], *nodes[1]), n_bytes)
    network = topology.capacity["network.down"]
    assert across.duration_ps >= ps_for(2 * 7 * n_bytes // 8, network)
    assert across.duration_ps > 5 * inside.duration_ps
    crossed = dict(across.n_bytes)
    assert crossed["network.down"] == crossed["network.up"] == 2 * 7 * n_bytes // 8
