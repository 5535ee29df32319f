"""DRAM: standards as data, address mapping, the reference controller, its fast forms."""

from ndpsim.dram.check import check_log
from ndpsim.dram.device import (
    Device,
    command_energy_fj,
    peak_bytes_per_s,
    preset_of,
    resolve,
    standby_energy_fj,
)
from ndpsim.dram.nearbank import NearBankRun, near_bank_product
from ndpsim.dram.patterns import generate, pattern_names
from ndpsim.dram.placement import base_addresses
from ndpsim.dram.reference import Issued, Run
from ndpsim.dram.spec import (
    CommandSpec,
    ConstraintSpec,
    ControllerSpec,
    DramSpec,
    OrganisationSpec,
    StandardSpec,
)
from ndpsim.dram.stream import (
    Stream,
    StreamOutcome,
    audit_stream,
    refresh_interval_ps,
    stream_marks,
    stream_table,
)

__all__ = [
    "CommandSpec",
    "ConstraintSpec",
    "ControllerSpec",
    "Device",
    "DramSpec",
    "Issued",
    "NearBankRun",
    "OrganisationSpec",
    "Run",
    "StandardSpec",
    "Stream",
    "StreamOutcome",
    "audit_stream",
    "base_addresses",
    "check_log",
    "command_energy_fj",
    "generate",
    "near_bank_product",
    "pattern_names",
    "peak_bytes_per_s",
    "preset_of",
    "refresh_interval_ps",
    "resolve",
    "standby_energy_fj",
    "stream_marks",
    "stream_table",
]
