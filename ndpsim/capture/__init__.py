"""Routing of real models: hooks that record it, and the small model behind the shipped trace.

Needs the extra ``[capture]`` (torch, transformers, tokenizers); nothing here imports them until a
submodule that uses them is imported. The one room it imports is ``workload``, for the trace.
"""
