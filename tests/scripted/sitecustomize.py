"""A trainer for rented machines in tests: real events, real checkpoints, no model.

Laid into a machine's Python path, it takes the place of `python -m lorry.trainer`: the agent that supervises it is the real
one. Each step takes `LORRY_SCRIPTED_STEP` seconds (0.05); the weights after a step follow from the step alone, so that an
adapter that went through any number of machines can be compared with one that did not. The last step is the best one, or that
of `LORRY_SCRIPTED_BEST`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
import time
from pathlib import Path


def tensor_file(path: Path, number: int) -> None:
    """A safetensors file with one tensor that tells the step."""
    header = json.dumps({"step": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<q", number))


def state_of(step: int, losses: dict[int, float]) -> dict:
    return {"step": step, "scores": {str(at): {"loss": loss} for at, loss in losses.items()}}


class Script:
    """What the trainer does, on the run's own recipe."""

    def __init__(self, folder: Path) -> None:
        from lorry.trainer.channel import FD, Pipe

        self.folder = folder
        self.facts = json.loads((folder / "resolved.json").read_text())
        self.train = self.facts["recipe"]["train"]
        self.pace = float(os.environ.get("LORRY_SCRIPTED_STEP", "0.05"))
        self.pipe = Pipe(int(os.environ.pop(FD)))
        self.best = int(os.environ.get("LORRY_SCRIPTED_BEST", "0"))
        self.losses: dict[int, float] = {}
        self.stopped = 0
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # as the real one: it ends with its agent
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: object) -> None:
        self.stopped = self.stopped or number

    def run(self) -> int:
        from lorry.trainer import checkpoint

        if not self.is_as_sold():
            return 3
        root, steps = self.folder / "checkpoints", int(self.train["steps"])
        every = int(self.train["save_every"] or 10)
        newest = checkpoint.newest(root, lambda place, why: self.pipe.append("rejected", path=str(place), reason=why))
        step = checkpoint.step_of(newest) if newest else 0
        if newest:
            scores = json.loads((newest / checkpoint.STATE).read_text())["scores"]
            self.losses = {int(at): found["loss"] for at, found in scores.items()}
        self.pipe.append("loaded", parameters=8, trainable=8, precision="float32", device="cpu")
        if newest:
            self.pipe.append("resumed", from_step=step, path=str(newest))
        self.pipe.append("started", steps=steps, from_step=step)
        while step < steps and not self.stopped and not self.budget_is_used_up(step):
            time.sleep(self.pace)
            step += 1
            numbers = {"loss": 1 / step, "learning_rate": 1e-4, "grad_norm": 1.0, "trained_tokens": step}
            self.pipe.append("step", step=step, **numbers, tokens_per_second=1.0, memory_bytes=1)
            self.pipe.beat("training", step)
            if step % every == 0 or step == steps:
                self.save(root, step)
        if self.stopped:
            return self.leave(root, step)
        self.save(root, step)
        self.deliver(root, step)
        return 0

    def is_as_sold(self) -> bool:
        """Whether the machine acts the GPU that it was sold with, judged as the real trainer does, without torch."""
        from dataclasses import asdict

        from lorry.plan import machine

        acted = machine.emulated_gpu()
        if acted is None:
            return True
        major, minor = acted.capability
        seen = machine.MachineFacts([acted] if acted.memory else [], [f"sm_{major}{minor}"], room=2**60)
        found = machine.judge(seen, machine.Promised(**self.facts.get("promised", {})))
        self.pipe.append("machine", findings=[asdict(one) for one in found])
        faults = [one for one in found if one.severity == "error"]
        if faults:
            self.pipe.end("failed", error=faults[0].message, hint=faults[0].remedy, exit_code=3)
        return not faults

    def budget_is_used_up(self, step: int) -> bool:
        """As the real trainer sees it: what there is then is delivered."""
        from lorry.recipe.here import recipe_here
        from lorry.trainer import stopping
        from lorry.trainer.channel import BEGAN

        self.budget = getattr(self, "budget", None) or recipe_here(self.facts).budget
        began = float(os.environ.get(BEGAN, time.monotonic()))
        reached = stopping.limit_reached(self.budget, time.monotonic() - began)
        if reached:
            self.pipe.append("limit", step=step, message=reached)
        return bool(reached)

    def save(self, root: Path, step: int) -> None:
        from lorry.trainer import checkpoint
        from lorry.trainer.saving.retention import best_first, kept

        final = checkpoint.path_of(root, step)
        if final.exists():
            return
        aside = root / f".{final.name}.{os.getpid()}"
        aside.mkdir(parents=True)
        for name in ("adapter_model.safetensors", checkpoint.OPTIMIZER, checkpoint.RNG):
            tensor_file(aside / name, step)
        (aside / "adapter_config.json").write_text("{}\n")
        self.losses[step] = 0.0 if step == self.best else 1 / step
        (aside / checkpoint.STATE).write_text(json.dumps(state_of(step, self.losses)) + "\n")
        checkpoint.write_manifest(aside)
        aside.rename(final)
        checkpoint.prune(root, kept(checkpoint.steps(root), best_first(self.losses), last=3, best=0))
        self.pipe.append("saved", step=step, path=str(final), seconds=0.0, pause=0.0)

    def leave(self, root: Path, step: int) -> int:
        if step:
            self.save(root, step)
        cause = "preempted" if self.stopped == signal.SIGTERM else "person"
        self.pipe.end("stopped", reason=f"stopped after step {step}; its checkpoint is kept", cause=cause)
        return 130

    def deliver(self, root: Path, step: int) -> None:
        from lorry.trainer import checkpoint

        ranked = sorted((loss, at) for at, loss in self.losses.items())
        step = next((at for _, at in ranked if checkpoint.path_of(root, at).exists()), step)
        checkpoint.deliver(checkpoint.path_of(root, step), self.folder / "adapter")
        self.pipe.append("delivered", step=step, path=str(self.folder / "adapter"))
        evaluation = self.folder / "eval"
        evaluation.mkdir(exist_ok=True)
        (evaluation / "scores.json").write_text('{"splits": {}}\n')
        self.pipe.append("scored", scores={})
        self.pipe.end("finished", seconds=step * self.pace)


if "lorry.trainer" in getattr(sys, "orig_argv", []) and "-m" in sys.orig_argv:
    code = Script(Path(sys.orig_argv[-1])).run()
    sys.stdout.flush()
    os._exit(code)
