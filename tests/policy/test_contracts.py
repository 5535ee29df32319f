"""Every registered policy keeps the contract of its kind, with default and other parameters."""

import pytest

from ndpsim import registry
from ndpsim.policy.cache.lru import Lru
from ndpsim.policy.dispatch.monde import BandwidthRatio
from ndpsim.policy.prefetch.prefill_frequency import PrefillFrequency
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
    @pytest.fixture(params=["floor", "ceil"])
    def policy(self, request):
        return BandwidthRatio(rounding=request.param)


class TestPrefillFrequencyCount(PrefetchContract):
    @pytest.fixture(params=[3, "fit"])
    def policy(self, request):
        return PrefillFrequency(count=request.param)


class TestGlobalLru(CacheContract):
    @pytest.fixture
    def policy(self):
        return Lru(scope="global")
