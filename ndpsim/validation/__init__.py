"""Runs against what others measured."""

from ndpsim.validation.gpu import Case, gpu_preset, validate_gpu
from ndpsim.validation.summary import summarize

__all__ = ["Case", "gpu_preset", "summarize", "validate_gpu"]
