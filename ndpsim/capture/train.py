"""Train the width-shrunk Qwen3-MoE on text found on this machine.

    python -m ndpsim.capture.train OUT_DIR
    torchrun --nproc-per-node 2 -m ndpsim.capture.train OUT_DIR     one process per core: faster

Stops and resumes at will: call it again with the same directory. It leaves in OUT_DIR the
tokenizer, the newest checkpoint and ``log.jsonl`` with the loss curve.
"""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from tokenizers import Tokenizer

from ndpsim.capture.experts import use_sorted_experts
from ndpsim.capture.shrunk import (
    load_model,
    new_model,
    shrunk_config,
    token_streams,
    train_tokenizer,
)
from ndpsim.capture.text import SOURCES, documents

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """All that decides the trained weights, next to the text itself."""

    seed: int = 1
    steps: int = 650
    tokens_per_step: int = 4096
    context: int = 256
    long_context: int = 1024
    long_frac: float = 0.2  # the last steps see contexts as long as the captured ones
    vocab_size: int = 4096
    d_model: int = 64
    d_expert: int = 16
    peak_lr: float = 2.5e-3
    warmup_steps: int = 60
    decay_frac: float = 0.4  # constant rate, then a cosine to a twentieth over this last part
    balance_coef: float = 1e-3  # of each layer's balance loss: routers collapse early without it
    late_balance_coef: float = 2e-4  # then weak enough for experts to specialize
    late_balance_frac: float = 0.6  # the last part of training, which uses the weak one
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    eval_every: int = 25
    save_every: int = 100

    def lr(self, step: int) -> float:
        """Learning rate of a step counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        decayed = max(0.0, (step / self.steps - 1 + self.decay_frac) / self.decay_frac)
        return self.peak_lr * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * decayed)))

    def balance_coef_at(self, step: int) -> float:
        """Weight of the balance loss in a step."""
        late = step >= (1 - self.late_balance_frac) * self.steps
        return self.late_balance_coef if late else self.balance_coef

    def context_at(self, step: int) -> int:
        """Tokens per training window of a step."""
        return self.context if step < (1 - self.long_frac) * self.steps else self.long_context


class BalanceTap:
    """Load-balancing loss of every router in one pass, by forward hooks.

    Per layer it is transformers' own ``load_balancing_loss_func`` applied to that layer alone:
    experts x sum over experts of (choices per token) x (mean router probability), which is top_k
    under perfect balance. Summed over layers, each layer is held in balance by itself.
    """

    def __init__(self, model: Any) -> None:
        self.losses: list[torch.Tensor] = []
        self.counts: list[torch.Tensor] = []
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(self._see)

    def _see(self, gate: Any, args: Any, output: Any) -> None:
        logits, _, chosen = output
        counts = torch.bincount(chosen.reshape(-1), minlength=gate.num_experts)
        mean_prob = torch.softmax(logits, dim=-1, dtype=torch.float32).mean(0)
        self.counts.append(counts)
        self.losses.append((counts / logits.shape[0] * mean_prob).sum() * gate.num_experts)

    def take(self) -> tuple[torch.Tensor, float]:
        """Sum of the layers' losses, and hottest/mean expert load averaged over layers."""
        total = torch.stack(self.losses).sum()
        skew = float(np.mean([float(c.max() / c.float().mean()) for c in self.counts]))
        self.losses, self.counts = [], []
        return total, skew


def windows(
    streams: dict[str, np.ndarray], n: int, length: int, rng: np.random.Generator
) -> torch.Tensor:
    """Random windows, domains equally likely: (n, length + 1) int64."""
    domains = list(streams.values())
    rows = []
    for pick in rng.integers(len(domains), size=n):
        start = int(rng.integers(len(domains[pick]) - length - 1))
        rows.append(domains[pick][start : start + length + 1].astype(np.int64))
    return torch.from_numpy(np.stack(rows))


def workers() -> tuple[int, int]:
    """Rank and number of the training processes; (0, 1) without torchrun."""
    if torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the training processes."""
    _, n_workers = workers()
    if n_workers > 1:
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        torch.distributed.all_reduce(flat)
        flat /= n_workers
        for grad, mean in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))


def next_token_loss(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of the tokens of a (n, length + 1) batch after the first."""
    hidden = model.model(input_ids=batch[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch[:, 1:].reshape(-1))


def prepare_text(out: Path, settings: TrainSettings) -> dict[str, dict[str, np.ndarray]]:
    """Tokenizer and token streams of both splits, made once and kept in `out`."""
    files = {split: out / f"{split}.npz" for split in ("train", "held_out")}
    if not all(path.exists() for path in files.values()):
        texts = list(documents())
        log.info(
            "%d documents, %.1f M characters", len(texts), sum(len(d.text) for d in texts) / 1e6
        )
        kept = [d for d in texts if not d.held_out]
        tokenizer = train_tokenizer([d.text for d in kept[::4]], settings.vocab_size)
        tokenizer.save(str(out / "tokenizer.json"))
        held_out = [d for d in texts if d.held_out]
        for split, part in (("train", kept), ("held_out", held_out)):
            arrays: dict[str, Any] = dict(token_streams(tokenizer, part))
            np.savez(files[split], **arrays)
        write_text_card(out, kept, tokenizer)
    return {split: dict(np.load(path)) for split, path in files.items()}


def write_text_card(out: Path, kept: list[Any], tokenizer: Tokenizer) -> None:
    """Say which text was used, under which licences, and how much of it."""
    chars: dict[str, int] = {}
    for document in kept:
        chars[document.domain] = chars.get(document.domain, 0) + len(document.text)
    card = {
        "sources": [
            {"domain": s.domain, "about": s.about, "licence": s.licence}
            for s in SOURCES
            if Path(s.root).exists()
        ],
        "characters": chars,
        "documents": len(kept),
        "vocab_size": tokenizer.get_vocab_size(),
    }
    (out / "text.json").write_text(json.dumps(card, indent=1))


class Run:
    """Model, optimizer and position of a training run kept in one directory."""

    def __init__(self, out: Path, settings: TrainSettings) -> None:
        self.out, self.settings = out, settings
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        resumed = (out / "model").exists()
        self.model = (
            load_model(out)[0]
            if resumed
            else new_model(
                shrunk_config(settings.vocab_size, settings.d_model, settings.d_expert),
                settings.seed,
            )
        )
        use_sorted_experts(self.model)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
            fused=True,
        )
        if resumed:
            state = torch.load(out / "optimizer.pt", weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.tokens, self.seconds = state["position"]

    def save(self) -> None:
        """Replace the checkpoint; a kill in between leaves the old or the new one."""
        fresh = self.out / "model.new"
        self.model.save_pretrained(fresh)
        torch.save(
            {
                "optimizer": self.optimizer.state_dict(),
                "position": (self.step, self.tokens, self.seconds),
            },
            self.out / "optimizer.new",
        )
        shutil.rmtree(self.out / "model", ignore_errors=True)
        fresh.rename(self.out / "model")
        (self.out / "optimizer.new").replace(self.out / "optimizer.pt")
        (self.out / "settings.json").write_text(
            json.dumps({**vars(self.settings), "step": self.step, "tokens": self.tokens}, indent=1)
        )

    def train_step(self, streams: dict[str, np.ndarray], tap: BalanceTap) -> tuple[float, float]:
        """One optimizer step; returns this process's loss and mean balance loss of a layer."""
        settings = self.settings
        length = settings.context_at(self.step)
        rng = np.random.default_rng((settings.seed, self.step))
        rank, n_workers = workers()
        batch = windows(streams, settings.tokens_per_step // length, length, rng)[rank::n_workers]
        loss = next_token_loss(self.model, batch)
        balance, _ = tap.take()
        objective: Any = loss + settings.balance_coef_at(self.step) * balance
        objective.backward()
        average_gradients(list(self.model.parameters()))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += settings.tokens_per_step
        return loss.item(), balance.item() / self.model.config.num_hidden_layers

    def held_out(self, streams: dict[str, np.ndarray], tap: BalanceTap) -> tuple[float, float]:
        """Loss and expert skew on a fixed draw of held-out windows."""
        batch = windows(streams, 16, 256, np.random.default_rng(self.settings.seed))
        with torch.no_grad():
            loss = next_token_loss(self.model, batch).item()
            return loss, tap.take()[1]


def train(out: Path, settings: TrainSettings) -> None:
    """Train to `settings.steps`, logging and saving as it goes."""
    rank, n_workers = workers()
    if rank == 0:
        prepare_text(out, settings)
    if n_workers > 1:
        torch.distributed.barrier()
    text = prepare_text(out, settings)
    run = Run(out, settings)
    tap = BalanceTap(run.model)
    losses: list[tuple[float, float]] = []
    began = time.monotonic() - run.seconds
    with (out / "log.jsonl" if rank == 0 else Path(os.devnull)).open("a") as curve:
        while run.step < settings.steps:
            losses.append(run.train_step(text["train"], tap))
            run.seconds = time.monotonic() - began
            if run.step % settings.eval_every == 0 or run.step in (1, settings.steps):
                held_out, skew = run.held_out(text["held_out"], tap)
                loss, balance = np.mean(losses, axis=0)
                row = {
                    "step": run.step,
                    "tokens": run.tokens,
                    "loss": round(float(loss), 4),
                    "held_out_loss": round(held_out, 4),
                    "balance": round(float(balance), 3),
                    "skew": round(skew, 2),
                    "lr": settings.lr(run.step - 1),
                    "seconds": round(run.seconds),
                }
                curve.write(json.dumps(row) + "\n")
                curve.flush()
                log.info("%s", row)
                losses = []
            if rank == 0 and (run.step % settings.save_every == 0 or run.step == settings.steps):
                run.save()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ndpsim.capture.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="directory of tokenizer, checkpoint and log")
    parser.add_argument("--steps", type=int, default=TrainSettings.steps)
    parser.add_argument("--threads", type=int, default=1, help="per process; 1 on a busy machine")
    args = parser.parse_args()
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    logging.basicConfig(
        level=logging.INFO if workers()[0] == 0 else logging.WARNING,
        format="%(asctime)s %(message)s",
    )
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args.out, TrainSettings(steps=args.steps))


if __name__ == "__main__":
    main()
