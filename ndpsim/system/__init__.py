"""The machine: stages, situations, outcomes; memory, energy and the bound."""

from ndpsim.system.audit import audit
from ndpsim.system.bound import Bound
from ndpsim.system.energy import energy_j
from ndpsim.system.machine import GPU, MEMORY, Machine, unit_names
from ndpsim.system.memory import MemoryPlan, plan_memory
from ndpsim.system.residency import Knowledge, known
from ndpsim.system.session import Session, StepResult, Tally
from ndpsim.system.situation import Outcome, Situation, Transfer
from ndpsim.system.spec import NdpGroup, SystemSpec
from ndpsim.system.stage import STAGING_BUFFERS, Stage, simulate

__all__ = [
    "GPU",
    "MEMORY",
    "STAGING_BUFFERS",
    "Bound",
    "Knowledge",
    "Machine",
    "MemoryPlan",
    "NdpGroup",
    "Outcome",
    "Session",
    "Situation",
    "Stage",
    "StepResult",
    "SystemSpec",
    "Tally",
    "Transfer",
    "audit",
    "energy_j",
    "known",
    "plan_memory",
    "simulate",
    "unit_names",
]
