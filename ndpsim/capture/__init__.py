"""Routing of real models: hooks that write traces, and the small model behind the shipped one.

Needs the extra ``[capture]`` (torch, transformers, tokenizers); nothing here imports them until a
submodule that uses them is imported. The only room it imports is ``workload``, for the trace format.
"""
