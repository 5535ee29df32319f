"""Every registered policy keeps the contract of its kind, with default and other parameters."""

import pytest

from ndpsim import registry
from ndpsim.policy.cache.fifo import Fifo
from ndpsim.policy.cache.lfu import Lfu
from ndpsim.policy.cache.lru import Lru
from ndpsim.policy.cache.staged_lru import StagedLru
from ndpsim.policy.cache.workload import Workload
from ndpsim.policy.dispatch.exhaustive import Exhaustive
from ndpsim.policy.dispatch.greedy_makespan import GreedyMakespan
from ndpsim.policy.dispatch.monde import BandwidthRatio
from ndpsim.policy.partition.expert_parallel import ExpertParallel
from ndpsim.policy.partition.hybrid import Hybrid
from ndpsim.policy.partition.tensor_parallel import TensorParallel
from ndpsim.policy.prefetch.next_gate import NextGate
from ndpsim.policy.prefetch.oracle import Oracle
from ndpsim.policy.prefetch.prefill_frequency import PrefillFrequency
from ndpsim.policy.prefetch.prefill_importance import PrefillImportance
from ndpsim.policy.prefetch.profile import Profile
from ndpsim.testing import CacheContract, DispatchContract, PartitionContract, PrefetchContract


class TestPartitions(PartitionContract):
    @pytest.fixture(params=[name for name in registry.names("partition") if name != "file"])
    def policy(self, request):
        return registry.lookup("partition", request.param)()


class TestDispatches(DispatchContract):
    @pytest.fixture(params=registry.names("dispatch"))
    def policy(self, request):
        return registry.lookup("dispatch", request.param)()


class TestPrefetches(PrefetchContract):
    @pytest.fixture(params=registry.names("prefetch"))
    def policy(self, request):
        return registry.lookup("prefetch", request.param)()


class TestCaches(CacheContract):
    @pytest.fixture(params=registry.names("cache"))
    def policy(self, request):
        return registry.lookup("cache", request.param)()


class TestMondeRounding(DispatchContract):
    @pytest.fixture(params=["floor", "ceil", "argmin"])
    def policy(self, request):
        return BandwidthRatio(rounding=request.param)


class TestPrefillFrequencyCount(PrefetchContract):
    @pytest.fixture(params=[3, "fit", "adaptive"])
    def policy(self, request):
        return PrefillFrequency(count=request.param)


class TestGlobalLru(CacheContract):
    @pytest.fixture
    def policy(self):
        return Lru(scope="global")


class TestOtherPartitions(PartitionContract):
    @pytest.fixture(
        params=[
            ExpertParallel(order="contiguous"),
            TensorParallel(groups=1),
            TensorParallel(groups=3),
            Hybrid(hot_frac=0.6),
        ],
        ids=repr,
    )
    def policy(self, request):
        return request.param


class TestOtherDispatches(DispatchContract):
    @pytest.fixture(params=[Exhaustive(reuse=True), GreedyMakespan(max_moves=0)], ids=repr)
    def policy(self, request):
        return request.param


class TestOtherPrefetches(PrefetchContract):
    @pytest.fixture(
        params=[
            NextGate(count=1, recall=0.5),
            PrefillImportance(alpha=1, count=2),
            Profile(count="fit"),
            Oracle(count=1),
        ],
        ids=repr,
    )
    def policy(self, request):
        return request.param


class TestOtherCaches(CacheContract):
    @pytest.fixture(
        params=[
            Fifo(scope="global"),
            Lfu(scope="global"),
            Lfu(size=2),
            StagedLru(staging=0),
            StagedLru(staging=2),
            Workload(fade=1.0),
        ],
        ids=repr,
    )
    def policy(self, request):
        return request.param
