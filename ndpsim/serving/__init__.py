"""Requests as prefill and decode steps."""

from ndpsim.serving.request import WorkloadSpec, serve, steps

__all__ = ["WorkloadSpec", "serve", "steps"]
