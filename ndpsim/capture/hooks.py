"""Routing seen through forward hooks on the router modules of a Hugging Face model.

Each router module (``mlp.gate``, ``mlp.router``) of transformers 5 returns the chosen expert ids
and their weights; the experts module receives both again. The tap reads the first and compares it
with the second on every pass, so that a family whose router means something else by its outputs,
or a kernel that goes round the hooks, is refused instead of recorded wrongly.
"""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from ndpsim.errors import TraceError

_ROUTER_CLASS = re.compile(r"(Router|TopKGating|MoEGate)$")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def routers(model: Any) -> Iterator[tuple[int, str, Any]]:
    """Yield (decoder-layer index, module name, module) of every router, in layer order."""
    found = []
    for name, module in model.named_modules():
        layer = _LAYER.search(name)
        if layer and _ROUTER_CLASS.search(type(module).__name__):
            found.append((int(layer[1]), name, module))
    yield from sorted(found, key=lambda item: item[0])


def read_router_output(name: str, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (tokens, k) and weights (tokens, k), whatever the order of the router's outputs."""
    tensors = [t for t in output if torch.is_tensor(t)] if isinstance(output, tuple) else []
    ids = [t for t in tensors if t.ndim == 2 and not t.is_floating_point()]
    if len(ids) == 1:
        weights = [t for t in tensors if t.is_floating_point() and t.shape == ids[0].shape]
        if len(weights) == 1:
            return ids[0], weights[0]
    raise TraceError(name, "router does not return (ids, weights) as transformers 5 routers do")


class RouterTap:
    """Records ids and weights of all routers of a model while it is entered.

    After each forward pass, `take` returns what the routers chose.
    """

    def __init__(self, model: Any) -> None:
        self._routers = list(routers(model))
        self._modules = dict(model.named_modules())
        self._seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._agreed: set[int] = set()
        self._handles: list[Any] = []
        self.layers = tuple(layer for layer, _, _ in self._routers)
        if not self._routers:
            raise TraceError(type(model).__name__, "has no router module that can be tapped")
        if len(set(self.layers)) != len(self.layers):
            raise TraceError(type(model).__name__, "has two routers in one decoder layer")

    def __enter__(self) -> Self:
        """Attach the hooks."""
        for layer, name, module in self._routers:
            experts = self._modules.get(f"{name.rpartition('.')[0]}.experts")
            if experts is None:
                raise TraceError(name, "has no experts module beside it to check its ids against")
            self._handles.append(module.register_forward_hook(self._on_router(layer, name)))
            self._handles.append(
                experts.register_forward_pre_hook(self._on_experts(layer, name), with_kwargs=True)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detach the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_router(self, layer: int, name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            if layer in self._seen:
                raise TraceError(name, "router ran twice in one pass")
            ids, weights = read_router_output(name, output)
            self._seen[layer] = (ids.detach(), weights.detach())

        return hook

    def _on_experts(self, layer: int, name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            received = [
                t
                for t in (*args, *kwargs.values())
                if torch.is_tensor(t) and not t.is_floating_point()
            ]
            ids = self._seen[layer][0] if layer in self._seen else None
            if ids is None or len(received) != 1 or not torch.equal(received[0], ids):
                raise TraceError(name, "expert ids of the router differ from those its experts got")
            self._agreed.add(layer)

        return hook

    def take(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Choices of the pass just made, then forget them.

        Parameters
        ----------
        batch
            Sequences in the pass; the routers saw them flattened, sequence by sequence.

        Returns
        -------
        ids, weights
            (batch, tokens, layers, k) int16 and float16.
        """
        for layer, name, _ in self._routers:
            if layer not in self._seen:
                raise TraceError(name, "router did not run through its module in this pass")
            if layer not in self._agreed:
                raise TraceError(name, "experts did not run through their module in this pass")
        seen = [self._seen[layer] for layer in self.layers]
        self._seen, self._agreed = {}, set()
        ids = torch.stack([i for i, _ in seen], dim=1)
        weights = torch.stack([w for _, w in seen], dim=1)
        shape = (batch, -1, *ids.shape[1:])
        return (
            ids.reshape(shape).to(torch.int16).cpu().numpy(),
            weights.reshape(shape).to(torch.float16).cpu().numpy(),
        )
