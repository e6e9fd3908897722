"""TensorBoard: curves from files in the run's folder; `tensorboard --logdir ~/.local/share/lorry/runs` shows all runs."""

from __future__ import annotations

import io
import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from lorry.track.events import Event
from lorry.track.replay import returns_to
from lorry.track.sinks._base import Memory, RunFacts, Session, Sink
from lorry.track.sinks._numbers import final_scores, numbers

_LONGEST_TEXT = 100_000
"""Characters of a text that TensorBoard gets; it reads every text into memory."""


class TensorboardSink(Sink):
    """TensorBoard files under `tensorboard/` in the run's folder: loss, learning rate, speed, memory, scores."""

    extra: ClassVar[str] = "tensorboard"
    packages: ClassVar[tuple[str, ...]] = ("tensorboard",)

    def open(self, run: RunFacts, memory: Memory) -> Session:
        """Begins a new file beside those of earlier sessions; TensorBoard shows them as one run."""
        self.require_packages()
        return _Session(run, memory)


class _Session(Session):
    def __init__(self, run: RunFacts, memory: Memory) -> None:
        self._memory = memory
        folder = run.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        # The form that TensorBoard looks for; it reads files in the order of their names.
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.lorry"
        self._write(file_version="brain.Event:2")
        if "step" in memory:
            # What was written and not noted when the process died comes again.
            self._forget_after(int(memory["step"]))
        else:
            self._write(summary=_text("recipe", json.dumps(run.recipe, indent=2, default=str)))
            memory["step"] = 0

    def take(self, event: Event) -> None:
        back_to = returns_to(event)
        if back_to is not None:
            self._forget_after(back_to)
        elif event.kind == "step" and event.step is not None and event.step <= self._memory["step"]:
            self._forget_after(event.step - 1)
        found = numbers(event)
        if found:
            self._memory["step"] = max(event.step or 0, self._memory["step"])
            self._write(at=event.at, step=event.step, summary=_scalars(found))
        scores = final_scores(event)
        if scores:
            self._write(at=event.at, step=self._memory["step"], summary=_scalars(scores))

    def _forget_after(self, step: int) -> None:
        """Has TensorBoard hide what it was told of later steps."""
        log = _proto("event").SessionLog
        self._write(step=step + 1, session_log=log(status=log.START))
        self._memory["step"] = step

    def _write(self, *, at: float | None = None, step: int | None = None, **what: Any) -> None:
        """Appends one record whole, or not at all: after half a record TensorBoard would read no further."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        framed = io.BytesIO()
        record = _proto("event").Event(wall_time=time.time() if at is None else at, step=step or 0, **what)
        RecordWriter(framed).write(record.SerializeToString())
        _append(self._path, framed.getvalue())


def _scalars(values: dict[str, float]) -> Any:
    summary = _proto("summary").Summary
    return summary(value=[summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _text(tag: str, text: str) -> Any:
    summary, about = _proto("summary").Summary, _proto("summary").SummaryMetadata
    shown = "\t" + text[:_LONGEST_TEXT].replace("\n", "\n\t")  # indented, Markdown shows it as it is
    metadata = about(plugin_data=about.PluginData(plugin_name="text"))
    content = [shown.encode("utf-8", "backslashreplace")]
    tensor = _proto("tensor").TensorProto(dtype=_proto("types").DT_STRING, string_val=content)
    return summary(value=[summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _proto(name: str) -> Any:
    """TensorBoard's own classes of one kind. They come without types, and without TensorFlow."""
    return import_module(f"tensorboard.compat.proto.{name}_pb2")


def _append(path: Path, content: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(before)
            raise
