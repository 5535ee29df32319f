"""One stage: pure, order-free, shift-free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.engine import Record
from ndpsim.experiment import RunSpec, build_machine
from ndpsim.memo import Memo, NoMemo
from ndpsim.policy import Slot
from ndpsim.spec import resolve
from ndpsim.system import Machine, Situation, Stage, Transfer, simulate
from ndpsim.system.costs import expert_work, gpu_ps, resident_work
from ndpsim.system.session import van_der_corput
from ndpsim.testing.configs import tiny_config


def machine_of(**changes: object) -> tuple[Machine, RunSpec]:
    spec = resolve(
        RunSpec, tiny_config(), {k.replace("__", "."): v for k, v in changes.items()}
    ).spec
    return build_machine(spec, spec.model_spec())[0], spec


def situation(*slots: Slot, **changes: object) -> Situation:
    fields = {"kind": "experts", "phase": "decode", "n_tokens": 1, "slots": tuple(sorted(slots))}
    return Situation(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expert_parallel() -> tuple[Machine, RunSpec]:
    return machine_of(scheduler="expert-parallel")


def test_a_stage_is_a_function_of_its_situation(expert_parallel: tuple[Machine, RunSpec]) -> None:
    machine, spec = expert_parallel
    stage = situation(Slot(0, False, 1), Slot(2, False, 1))
    first = simulate(Memo(), machine, spec.scheduler.dispatch, stage)
    assert simulate(NoMemo(), machine, spec.scheduler.dispatch, stage) == first


def test_the_busiest_unit_rules(expert_parallel: tuple[Machine, RunSpec]) -> None:
    machine, spec = expert_parallel

    def duration_ps(*homes: int) -> int:
        stage = situation(*(Slot(home, False, 1) for home in homes))
        return simulate(Memo(), machine, spec.scheduler.dispatch, stage).duration_ps

    assert duration_ps(0, 1) < duration_ps(0, 0)
    assert duration_ps(0, 0, 1) - duration_ps(0, 0) < duration_ps(0, 0) - duration_ps(0, 1)


@given(refresh_phase=st.integers(0, 7), homes=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_stage_takes_at_least_its_reads_at_peak(
    expert_parallel: tuple[Machine, RunSpec], refresh_phase: int, homes: list[int]
) -> None:
    machine, spec = expert_parallel
    stage = situation(*(Slot(h, False, 1) for h in homes), refresh_phase=refresh_phase)
    outcome = simulate(Memo(), machine, spec.scheduler.dispatch, stage)
    for unit in set(homes):
        n_bytes = homes.count(unit) * 3 * 256 * 192 * 2
        rate = machine.capacity[f"ndp{unit}.ranks"]
        assert outcome.duration_ps * rate >= n_bytes * 10**12
        assert dict(outcome.n_bytes)[f"ndp{unit}.ranks"] == n_bytes


@given(data=st.data())
def test_permuting_experts_within_a_home_changes_nothing(data: st.DataObject) -> None:
    """Slots carry no ids, and a situation holds them sorted: order of arrival cannot matter."""
    slots = data.draw(
        st.lists(
            st.builds(Slot, st.integers(0, 3), st.just(False), st.integers(1, 5)),
            min_size=1,
            max_size=6,
        )
    )
    assert situation(*slots) == situation(*data.draw(st.permutations(slots)))


def test_transfers_under_way_keep_their_bytes() -> None:
    machine, spec = machine_of(scheduler="prefetch")
    whole = tuple(copy.n_bytes for copy in machine.copies[0])
    queue = ((Transfer(0, whole), 3),)
    stage = situation(Slot(0, False, 1), queue=queue)
    outcome = simulate(Memo(), machine, spec.scheduler.dispatch, stage)
    left = sum(sum(t.left) * n for t, n in outcome.queue)
    near = dict(outcome.n_bytes)["pcie.down"] - machine.vector_bytes(4)
    assert near == 3 * sum(whole) - left
    assert outcome.n_arrived == 3 - sum(n for _, n in outcome.queue)


def test_demand_goes_before_prefetch() -> None:
    machine, spec = machine_of(scheduler="on-demand")
    queue = ((Transfer(0, (10**9,)), 1),)
    alone = simulate(
        Memo(), machine, spec.scheduler.dispatch, situation(Slot(0, False, 1))
    ).duration_ps
    beside = simulate(
        Memo(), machine, spec.scheduler.dispatch, situation(Slot(0, False, 1), queue=queue)
    ).duration_ps
    assert beside == alone


def test_a_copy_first_takes_the_memory_from_its_unit() -> None:
    """The switch is part of a copy's set-up, unless copies do not touch the unit."""

    def setup_ps(access: str, switch: str) -> int:
        machine, _ = machine_of(
            scheduler="on-demand",
            scheduler__partition="expert-parallel",
            system__ndp__host_access=access,
            system__ndp__access_switch=switch,
        )
        return machine.copies[0][0].setup_ps

    for access, cost_ps in (("exclusive", 700_000), ("share", 700_000), ("ideal", 0)):
        assert setup_ps(access, "700 ns") - setup_ps(access, "0 ns") == cost_ps


def test_host_copies_disturb_units_as_the_machine_says() -> None:
    """One of two experts of a unit is copied: near work waits for it, shares, or does not care."""
    near_ps: dict[str, int] = {}
    for access in ("exclusive", "share", "ideal"):
        machine, spec = machine_of(
            scheduler="monde",
            scheduler__dispatch__rounding="ceil",
            system__ndp__host_access=access,
            system__ndp__access_switch="0 ns",
        )
        records: list[Record] = []
        stage = situation(Slot(0, False, 1), Slot(0, False, 1))
        Stage(Memo(), machine, spec.scheduler.dispatch, stage, records.append).run()
        near = next(r for r in records if r.name == "experts")
        fetch = next(r for r in records if r.name == "fetch")
        assert fetch.start_ps < near.end_ps
        near_ps[access] = near.end_ps - near.start_ps
        if access == "exclusive":
            assert near.end_ps >= fetch.end_ps
    assert near_ps["exclusive"] > near_ps["share"] > near_ps["ideal"]


@pytest.mark.parametrize("n_phases", [1, 2, 8, 12])
def test_refresh_phases_are_spread_evenly(n_phases: int) -> None:
    n = 48 * n_phases
    seen = [van_der_corput(i, n_phases) for i in range(n)]
    counts = [seen.count(phase) for phase in range(n_phases)]
    assert max(counts) - min(counts) <= 3 * (n_phases & (n_phases - 1) != 0)


def test_a_partial_sum_can_be_reduced_on_the_cpu_or_over_dimm_links() -> None:
    link = {"name": "dimm-link", "link": "dimm-link", "ends": ["ndp", "ndp"]}
    for reduce in ("gpu", "cpu", "dimm-link"):
        config = tiny_config(scheduler="tensor-parallel")
        spec = resolve(RunSpec, config).spec
        topology = [group.model_dump(mode="json") for group in spec.system.topology]
        machine, spec = machine_of(
            scheduler="tensor-parallel",
            system__ndp__reduce=reduce,
            system__topology=[*topology, link],
        )
        outcome = simulate(Memo(), machine, spec.scheduler.dispatch, situation(Slot(0, False, 1)))
        moved = dict(outcome.n_bytes)
        vectors_to_gpu = moved["pcie.down"] // machine.vector_bytes(1)
        assert vectors_to_gpu == (4 if reduce == "gpu" else 1)
        on_links = sum(n for name, n in moved.items() if name.endswith(".out"))
        assert on_links == (3 * machine.vector_bytes(1) if reduce == "dimm-link" else 0)


def test_a_decision_takes_time_on_the_device_that_runs_it() -> None:
    """On the host it waits for the router's ids; on the GPU it goes before them; it may be free."""
    found = {}
    for device in ("cpu", "gpu"):
        for cost in ("0 ns", "3 us"):
            machine, spec = machine_of(
                scheduler="load-balanced",
                scheduler__dispatch__decision_device=device,
                scheduler__dispatch__decision_base=cost,
                scheduler__dispatch__decision_per_expert="0 ns",
            )
            stage = situation(Slot(0, False, 1))
            outcome = simulate(Memo(), machine, spec.scheduler.dispatch, stage)
            found[device, cost] = (outcome.duration_ps, dict(outcome.busy_ps))
    for device in ("cpu", "gpu"):
        (free_ps, free), (full_ps, full) = found[device, "0 ns"], found[device, "3 us"]
        assert full_ps - free_ps == 3_000_000
        assert full[device] - free.get(device, 0) == 3_000_000


def test_decisions_of_prefetch_and_cache_are_charged_on_the_host() -> None:
    machine, spec = machine_of(scheduler="on-demand")
    slot = Slot(0, False, 1)
    free = simulate(Memo(), machine, spec.scheduler.dispatch, situation(slot))
    full = simulate(Memo(), machine, spec.scheduler.dispatch, situation(slot, host_ps=2_000))
    assert full.duration_ps - free.duration_ps == 2_000


def test_a_copy_that_speculation_had_begun_is_only_finished_on_demand() -> None:
    machine, spec = machine_of(scheduler="on-demand")
    (size,) = (copy.n_bytes for copy in machine.copies[0])
    outcomes = [
        simulate(Memo(), machine, spec.scheduler.dispatch, situation(Slot(0, False, 1, left)))
        for left in ((), (size // 3,), (0,))
    ]
    moved = [dict(outcome.n_bytes).get("pcie.down", 0) for outcome in outcomes]
    assert moved == [size, size // 3, 0]
    durations = [outcome.duration_ps for outcome in outcomes]
    assert durations == sorted(durations, reverse=True)
    assert len(set(durations)) == 3


def test_resident_experts_share_kernels_where_that_is_faster() -> None:
    machine, _ = machine_of(scheduler="gpu-only")
    tokens = (3, 1, 1, 1)
    single = [op for n in tokens for op in expert_work(machine, n)]
    grouped = resident_work(Memo(), machine, tokens, 3)
    assert gpu_ps(Memo(), machine, grouped) < gpu_ps(Memo(), machine, single)
    assert sum(op.flop for op in grouped if op.name in ("expert_up", "expert_down")) == sum(
        op.flop for op in single if op.name in ("expert_up", "expert_down")
    )
    published, _ = machine_of(scheduler="gpu-only", system__gpu__rule="attacc")
    assert resident_work(Memo(), published, tokens, 3) == tuple(single)
