"""Cycle-level simulator of GPUs with near-data-processing memory running MoE inference."""
