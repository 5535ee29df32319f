"""Laws of any graph of tasks, flows, occupations and delays."""

import itertools
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.engine import Engine
from ndpsim.units import PS_PER_S, ceil_div, ps_for

CAPACITY = {"pcie": 3 * 10**9, "ch0": 2_000_000_007, "ch1": 2 * 10**9, "ranks": 7 * 10**9}
DEVICES = ("gpu", "cpu")


@dataclass(frozen=True)
class Work:
    """One job of a random graph; `after` are indices of earlier jobs."""

    kind: str
    where: tuple[str, ...]
    amount: int
    latency_ps: int
    priority: int
    after: frozenset[int]


@st.composite
def graphs(draw):
    """Up to nine jobs, each after some of those before it."""
    graph = []
    for index in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(("task", "flow", "flow", "occupy", "delay")))
        pool, most = (DEVICES, 1) if kind == "task" else (tuple(CAPACITY), 3)
        where = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=most, unique=True))
        after = draw(st.frozensets(st.integers(0, index - 1), max_size=2)) if index else frozenset()
        graph.append(
            Work(
                kind,
                tuple(where),
                draw(st.integers(0, 5000)),
                draw(st.integers(0, 3000)),
                draw(st.integers(0, 2)),
                after,
            )
        )
    return graph


law = settings(max_examples=50)
exclusives = st.frozensets(st.sampled_from(tuple(CAPACITY)))


def build(graph, exclusive, delay_ps=0):
    """The engine of a graph, its jobs and a job that waits for all of them."""
    engine = Engine(CAPACITY, exclusive)
    start = [engine.delay("start", delay_ps)] if delay_ps else []
    jobs = []
    for index, work in enumerate(graph):
        name, after = f"{work.kind}{index}", [*start, *(jobs[i] for i in sorted(work.after))]
        if work.kind == "task":
            job = engine.task(name, work.where[0], work.amount, after)
        elif work.kind == "delay":
            job = engine.delay(name, work.amount, after)
        elif work.kind == "occupy":
            job = engine.occupy(
                name, work.where[0], lambda _, w=work: w.amount, priority=work.priority, after=after
            )
        else:
            job = engine.flow(
                name,
                work.where,
                work.amount,
                latency_ps=work.latency_ps,
                priority=work.priority,
                after=after,
            )
        jobs.append(job)
    return engine, jobs, engine.delay("all", 0, jobs)


def work_ps(graph):
    """Least busy time of each resource, in picoseconds."""
    n_bytes, held_ps = Counter(), Counter()
    for work in graph:
        if work.kind == "flow":
            n_bytes.update(dict.fromkeys(work.where, work.amount))
        elif work.kind in ("task", "occupy"):
            held_ps[work.where[0]] += work.amount
    return {
        name: held_ps[name] + (ps_for(n_bytes[name], CAPACITY[name]) if name in CAPACITY else 0)
        for name in (*CAPACITY, *DEVICES)
    }


@law
@given(graphs(), exclusives)
def test_bytes_arrive_once_on_every_resource_of_their_route(graph, exclusive):
    engine, _jobs, last = build(graph, exclusive)
    engine.run(last)
    expected = Counter()
    for work in graph:
        if work.kind == "flow":
            expected.update(dict.fromkeys(work.where, work.amount))
    assert Counter(engine.bytes_moved()) == expected
    assert engine.flows_left() == {}


@law
@given(graphs(), exclusives, st.integers(0, 20_000))
def test_bytes_moved_and_bytes_left_add_up_whenever_a_run_ends(graph, exclusive, end_ps):
    engine, jobs, _ = build(graph, exclusive)
    engine.run(engine.delay("end", end_ps))
    left, moved = engine.flows_left(), Counter(engine.bytes_moved())
    for job, work in zip(jobs, graph, strict=True):
        assert 0 <= left.get(job, 0) <= work.amount
        if work.kind == "flow":
            moved.subtract(dict.fromkeys(work.where, work.amount - left.get(job, 0)))
    assert not any(moved.values())


@law
@given(graphs(), exclusives)
def test_makespan_is_at_least_the_work_of_every_resource(graph, exclusive):
    engine, _, last = build(graph, exclusive)
    makespan_ps, busy_ps = engine.run(last), engine.busy_ps()
    for name, least_ps in work_ps(graph).items():
        assert least_ps <= busy_ps.get(name, 0) <= makespan_ps


@law
@given(graphs(), exclusives)
def test_a_job_starts_after_its_predecessors_and_takes_its_time(graph, exclusive):
    engine, jobs, last = build(graph, exclusive)
    engine.run(last)
    for job, work in zip(jobs, graph, strict=True):
        assert job.ready_ps == max((jobs[i].end_ps for i in work.after), default=0)
        if work.kind == "flow":
            alone_ps = max(ps_for(work.amount, CAPACITY[name]) for name in work.where)
            assert job.start_ps == job.ready_ps + work.latency_ps
            assert job.end_ps >= job.start_ps + alone_ps
        elif work.kind == "occupy":
            assert job.end_ps >= job.start_ps + work.amount
        else:
            assert job.end_ps == job.start_ps + work.amount


@law
@given(graphs(), exclusives)
def test_tasks_on_one_resource_do_not_overlap(graph, exclusive):
    engine, jobs, last = build(graph, exclusive)
    engine.run(last)
    for device in DEVICES:
        spans = sorted((job.start_ps, job.end_ps) for job in jobs if job.resource == device)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@law
@given(graphs(), exclusives, st.integers(1, 10**15))
def test_a_delay_of_all_jobs_changes_no_relative_integer(graph, exclusive, delay_ps):
    engine, jobs, last = build(graph, exclusive)
    shifted, later_jobs, later_last = build(graph, exclusive, delay_ps)
    assert shifted.run(later_last) == engine.run(last) + delay_ps
    for job, later in zip(jobs, later_jobs, strict=True):
        assert (later.ready_ps, later.start_ps, later.end_ps) == tuple(
            time_ps + delay_ps for time_ps in (job.ready_ps, job.start_ps, job.end_ps)
        )
    assert shifted.busy_ps() == engine.busy_ps()
    assert shifted.bytes_moved() == engine.bytes_moved()
    charged = Counter(engine.critical_ps(last)) + Counter(latency=delay_ps)
    assert Counter(shifted.critical_ps(later_last)) == charged


@law
@given(graphs(), exclusives)
def test_the_same_graph_twice_gives_the_same_integers(graph, exclusive):
    def tell():
        engine, jobs, last = build(graph, exclusive)
        engine.run(last)
        ends = [job.end_ps for job in jobs]
        return ends, engine.busy_ps(), engine.bytes_moved(), engine.critical_ps(last)

    assert tell() == tell()


@law
@given(graphs(), exclusives)
def test_critical_times_of_every_job_sum_to_its_end(graph, exclusive):
    engine, jobs, last = build(graph, exclusive)
    engine.run(last)
    for job in [*jobs, last]:
        charged = engine.critical_ps(job)
        assert sum(charged.values()) == job.end_ps
        assert all(time_ps > 0 for time_ps in charged.values())
        assert set(charged) <= {*CAPACITY, *DEVICES, "latency"}


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6), st.integers(1, 10**12))
def test_flows_of_one_link_end_together_as_fast_as_the_link_allows(sizes, rate):
    """Rates are floored by less than one byte per second each, ends round up by less than 1 ps."""
    engine = Engine({"link": rate + 1000})
    copies = [engine.flow("copy", ("link",), n) for n in sizes]
    end_ps = engine.run(engine.delay("all", 0, copies))
    ideal_ps = ps_for(sum(sizes), rate + 1000)
    slack_ps = ceil_div(ideal_ps * len(sizes), rate + 1000) + len(sizes)
    assert ideal_ps <= end_ps <= ideal_ps + 2 * slack_ps


@law
@given(st.integers(1, 10**9), st.lists(st.integers(1, 10**9), max_size=5, unique=True))
def test_looking_at_a_flow_does_not_change_it(n_bytes, looks):
    """Progress is exact however often it is brought up to date."""
    capacity = {"link": 3 * 10**9 + 1, "other": 10**9}
    end_ps = ceil_div(n_bytes * PS_PER_S, capacity["link"])
    engine = Engine(capacity)
    copy = engine.flow("copy", ("link",), n_bytes)
    for look_ps in sorted(looks):
        engine.flow("tick", ("other",), 1, after=[engine.delay("later", look_ps)])
    assert engine.run(copy) == end_ps
