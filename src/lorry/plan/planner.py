"""What a run will take: what it computes, what fits where, how long it takes and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lorry.errors import ModelError
from lorry.plan import batches, device, gpus, offers, speed, speeds
from lorry.plan.adapter_size import with_score
from lorry.plan.architecture.model_shape import ModelShape, model_shape
from lorry.plan.batches import Tokens
from lorry.plan.cost import Work
from lorry.plan.expected import Expected
from lorry.plan.fit import Fit, fit
from lorry.plan.judges import Judges, judges_of
from lorry.plan.memory import BYTES, Load, Memory, Setup, estimate, trained_parameters, weights
from lorry.plan.offers import Job, Offer, Ranked
from lorry.plan.owning import Power
from lorry.plan.ranges import Range
from lorry.plan.speed import Device, Scoring, Workload
from lorry.plan.speeds import Kind, Pace
from lorry.trainer.ladder import Rung
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.mixtures import coefficient, text_settings
from lorry.trainer.proven import may_share
from lorry.trainer.rollouts.vllm_engine import SHARE
from lorry.trainer.watched import rows_answered

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.plan.hardware import Hardware
    from lorry.plan.subject import Subject
    from lorry.trainer.sources.tensors import Tensor

_CHECKPOINT_BYTES = 12
_GB = 1e9


@dataclass(frozen=True)
class Estimate:
    """What a run will take: memory, time and money, on this computer and on each offer."""

    model: str
    shape: ModelShape
    tokens: Tokens
    trained: int
    """Parameters that training changes."""
    here: Ranked
    """This computer."""
    offers: tuple[Ranked, ...]
    """What could be rented, the best first."""
    fits: dict[str, Fit]
    """How the run sits on each GPU, by its name, and on this computer, as `here`."""
    expected: Expected | None = None
    """What this computer should take for it; None where it does not fit, or nothing is known of its speed."""

    def fit_of(self, offer: Offer) -> Fit:
        """How the run sits there."""
        return self.fits[_device_name(offer)]


class Planner:
    """Estimates what a recipe takes whose rows and model are known. Raises ModelError for an unknown architecture."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._recipe = subject.recipe
        self._config = _config(subject)
        shape, tensors = model_shape(self._config), subject.tensors
        if shape is None or tensors is None:
            kind = self._config.get("model_type", "unknown")
            hint = "`lorry run --smoke` measures it on this machine"
            raise ModelError(f"lorry knows no sizes of the architecture `{kind}`", place="model.id", hint=hint)
        self.shape = shape
        scores = subject.method.head == "score"
        self._tensors: dict[str, Tensor] = with_score(tensors, shape.hidden) if scores else tensors
        self._loads: dict[int, Load] = {}
        self._fits: dict[str, Fit] = {}
        self._counted: dict[int, Tokens] = {}
        self._speeds = speeds.known()
        self._judges: dict[str, Judges] = {}

    def on_this_computer(self) -> tuple[Fit, int]:
        """How the run sits on this computer, and the bytes that it has for it."""
        here = self._here()
        return self._fit(here), here.memory

    def fit_on(self, offer: Offer) -> Fit:
        """How the run sits there."""
        return self._fit(offer)

    @property
    def weights_gb(self) -> float:
        """Of the base model in 16 bits, in gigabytes."""
        return self.shape.parameters * 2 / _GB

    def estimate(
        self, candidates: Sequence[Offer] = (), by: offers.By = "cost", *, power: Power | None = None
    ) -> Estimate:
        """What the run takes on these offers, and on this computer."""
        here = self._here(power)
        ranked = offers.rank(self._job, candidates, by)
        return Estimate(
            model=self._recipe.model.id,
            shape=self.shape,
            tokens=self.tokens,
            trained=self._trained,
            here=offers.rank(self._job, [here])[0],
            offers=tuple(ranked),
            fits=self._fits,
            expected=self.expected(here),
        )

    def expected(self, offer: Offer) -> Expected | None:
        """What the run should take there, in a form that is kept; None where it does not fit, or nothing is known."""
        fits, work = self._fit(offer), self._work(offer)
        if fits.rung is None or work is None:
            return None
        setup = _checkpointed(self._setup(offer), fits.rung)
        load, pace = self._workload(setup, fits.rung), self._pace(offer, setup, fits.rung)
        return Expected(
            id=uuid4().hex,
            device=_known_as(offer, self._subject.hardware),
            numbers=_numbers(setup),
            parameters=self.shape.active_parameters,
            tokens_at_once=load.tokens.at_once,
            micro_batch=fits.rung.micro_batch,
            activation_checkpointing=fits.rung.activation_checkpointing,
            tokens=load.tokens.taken,
            flops=load.training_flops,
            duration=work.duration,
            scoring_factor=pace.scoring.likely if pace else 1.0,
            evaluations=load.scoring.evaluations,
        )

    @property
    def tokens(self) -> Tokens:
        """What the run computes with the recipe's micro-batch."""
        return self._tokens_of(self._recipe.train.micro_batch)

    def _tokens_of(self, micro_batch: int) -> Tokens:
        """Smaller micro-batches are more of them, and share fewer beginnings."""
        if micro_batch not in self._counted:
            counted = batches.tokens(self._subject.prepared, self._recipe, micro_batch, shares=self._shares)
            # The loss that evens a mixture's experts counts beforehand, where a step is more than one micro-batch.
            more = counted.micro_batches > counted.steps and self._evens_experts
            self._counted[micro_batch] = replace(counted, asked=counted.asked + more)
        return self._counted[micro_batch]

    @property
    def _evens_experts(self) -> bool:
        return coefficient(self._recipe.train.router_aux_loss_coef, text_settings(self._config)) > 0

    @property
    def _shares(self) -> bool:
        lora, train = self._recipe.lora, self._recipe.train
        drops = lora is not None and lora.dropout > 0
        text = self._config.get("text_config") or {}
        is_proven = may_share(self.shape.model_type, str(text.get("model_type"))) and not self._subject.about
        return train.share_prefixes and is_proven and not drops and self._recipe.model.attention == "auto"

    @property
    def _job(self) -> Job:
        budget = self._recipe.budget
        return Job(
            memory=lambda offer: self._fit(offer).memory.peak,
            work=self._work,
            bf16=self._recipe.model.precision == "bf16",
            usd=budget.usd,
            hours=budget.hours,
        )

    def _here(self, power: Power | None = None) -> Offer:
        """The computer at hand, at the price of its electricity or, where nobody gave that, at the recipe's."""
        own = _owned(self._subject.hardware, power or Power())
        price = None if power else self._recipe.budget.price_per_hour
        return replace(own, usd_per_hour=Range.exact(price), source="budget.price_per_hour") if price else own

    def _setup(self, offer: Offer) -> Setup:
        """How the model is computed there: by the trainer's own table of precisions."""
        from lorry.trainer.precision import decide

        recipe, hardware = self._recipe, self._subject.hardware
        # A GPU that is at hand may be one that the catalog does not know.
        on_gpu = offer.gpu is not None or bool(hardware.gpus)
        has_bf16 = offer.gpu.bf16 if offer.gpu is not None else hardware.bf16
        stored = str(self._config.get("dtype") or self._config.get("torch_dtype") or "float32")
        precision = decide(
            recipe.model.precision,
            stored,
            device="cuda" if on_gpu else "cpu",
            has_bf16=has_bf16,
            full=recipe.lora is None,
        )
        has_reference = self._subject.method.needs_reference
        setup = Setup(
            weights=precision.weights,
            lora=recipe.lora,
            autocast=precision.autocast is not None,
            quantization=recipe.model.quantization,
            double_quantization=recipe.model.double_quantization,
            optimizer=recipe.train.optimizer if on_gpu else "adamw",
            on_gpu=on_gpu,
            has_reference=has_reference,
            copies_reference=has_reference and (recipe.lora is None or recipe.model.adapter is not None),
        )
        if not self._subject.method.rolls_out:
            return setup
        if setup.weights not in self._judges:
            self._judges[setup.weights] = judges_of(self._subject, setup, has_bf16=has_bf16)
        return replace(setup, judges=self._judges[setup.weights].known, engine=self._engine(setup, offer.memory))

    def _engine(self, setup: Setup, room: int) -> int:
        """Bytes that vLLM takes of a GPU while it answers.

        Where its share does not hold the weights and one answer, it would not start: then as much as would make it.
        """
        method = self._subject.method
        if not isinstance(method, FromRollouts) or method.engine != "vllm" or not setup.on_gpu:
            return 0
        shape, length = self.shape, self._recipe.data.max_length
        # It has no fp32 for adapters, and takes 16 bits for it.
        held = replace(setup, weights="bfloat16") if setup.weights == "float32" else setup
        keys = 2 * shape.layers * shape.kv_heads * shape.head_dim * BYTES[held.weights] * length
        least = sum(weights(self._tensors, held).values()) + keys
        return round(SHARE * room if least <= SHARE * room else least / SHARE)

    @property
    def unknown_judges(self) -> Sequence[str]:
        """The places of rewards by models of which no sizes are known."""
        self._setup(self._here())
        return next((found.unknown for found in self._judges.values()), ())

    def _fit(self, offer: Offer) -> Fit:
        name = _device_name(offer)
        if name not in self._fits:
            setup, top = self._setup(offer), Rung.top(self._recipe)
            self._fits[name] = fit(lambda rung: self._memory(setup, rung), top, offer.memory)
        return self._fits[name]

    def _memory(self, setup: Setup, rung: Rung) -> Memory:
        size = rung.micro_batch
        if size not in self._loads:
            self._loads[size] = batches.load(self._subject.prepared, self._recipe, size, shares=self._shares)
        return estimate(self.shape, self._tensors, _checkpointed(setup, rung), self._loads[size])

    def _work(self, offer: Offer) -> Work | None:
        found = self._fit(offer)
        if found.rung is None:
            return None
        setup = _checkpointed(self._setup(offer), found.rung)
        computes = self._device(offer, setup, found.rung)
        if computes is None:
            return None
        at_hand = offer.provider == _HERE and self._has_weights
        duration = speed.duration(self._workload(setup, found.rung), computes, at_hand=at_hand)
        trained = self._trained
        return Work(
            duration,
            save_every=60 * self._recipe.train.save_minutes,
            disk_gb=20 + 1.2 * self.weights_gb + _CHECKPOINT_BYTES * trained * self._recipe.train.keep / _GB,
            egress_gb=2 * _CHECKPOINT_BYTES * trained / _GB,
        )

    @cached_property
    def _trained(self) -> int:
        """Parameters that training changes, on whatever machine."""
        return trained_parameters(self.shape, self._tensors, self._setup(self._here()))

    def _workload(self, setup: Setup, rung: Rung) -> Workload:
        return Workload(self.shape, setup, self._tokens_of(rung.micro_batch), self._scoring)

    @property
    def _has_weights(self) -> bool:
        """Whether they lie on this computer; what is not on the Hub is fetched with the configuration."""
        source = self._subject.source
        return source.kind != "hub" or any(source.folder.glob("*.safetensors"))

    def _pace(self, offer: Offer, setup: Setup, rung: Rung) -> Pace | None:
        """What runs like this one have reached there."""
        name, at_once = _known_as(offer, self._subject.hardware), self._tokens_of(rung.micro_batch).at_once
        return speeds.like(self._speeds, Kind(name, _numbers(setup), self.shape.active_parameters, at_once))

    def _device(self, offer: Offer, setup: Setup, rung: Rung) -> Device | None:
        """None for a GPU of which nothing is known."""
        if offer.gpu is None and setup.on_gpu:
            return None
        if offer.gpu is None:
            made = device.processor(self._subject.hardware, in_bf16=setup.size == 2)
        else:
            made = device.gpu_device(offer.gpu, is_rented=offer.provider != _HERE)
        pace = self._pace(offer, setup, rung)
        return device.as_reached(made, pace) if pace else made

    @cached_property
    def _scoring(self) -> Scoring:
        recipe, prepared = self._recipe, self._subject.prepared
        every = recipe.train.eval_every or max(1, -(-self.tokens.steps // 4))
        splits = [split for split in (prepared.eval, prepared.test) if split]
        rows, tokens = sum(map(len, splits)), sum(split.tokens for split in splits)
        most = recipe.evaluate.rows if self._subject.method.head == "language" else 0
        answers = sum(min(most, split.unit_count) for split in splits)
        rolled = self.tokens.answers
        each = min(rows_answered(recipe), prepared.eval.unit_count) if prepared.eval else 0
        return Scoring(
            evaluations=-(-self.tokens.steps // every) if prepared.eval else 0,
            loss_tokens=tokens,
            answers=answers,
            answers_at_once=recipe.evaluate.batch_size,
            answer_tokens=rolled.tokens if rolled else _longest_answer(splits, recipe.evaluate.max_new_tokens),
            prompt_tokens=round(tokens * answers / rows) if rows else 0,
            saves=-(-self.tokens.steps // (recipe.train.save_every or every)),
            answers_each=each,
            prompt_tokens_each=round(tokens * each / rows) if rows else 0,
        )


_HERE = "this computer"


def _longest_answer(splits: Sequence[ExampleSet], most: int) -> Range:
    """Tokens at which a batch of answers ends: those of the truth on average, twice as many, or as many as are allowed."""
    rows = sum(map(len, splits))
    mean = min(float(most), sum(split.trained_tokens for split in splits) / max(rows, 1))
    return Range(mean, min(float(most), 2 * mean), float(most))


def _device_name(offer: Offer) -> str:
    return offer.gpu.name if offer.gpu is not None else "here"


def _numbers(setup: Setup) -> str:
    """What products are computed in: a machine's speed is kept for each."""
    if setup.quantization != "none":
        return setup.quantization
    return "bfloat16" if setup.autocast else setup.weights


def _checkpointed(setup: Setup, rung: Rung) -> Setup:
    return replace(setup, checkpointing=rung.activation_checkpointing)


def _owned(hardware: Hardware, power: Power) -> Offer:
    if not hardware.gpus:
        return offers.this_computer(None, hardware.memory_free, power.usd_per_kwh, power.watts)
    first = hardware.gpus[0]
    spec = gpus.at_hand(first.name, first.memory)
    return offers.this_computer(spec, first.memory, power.usd_per_kwh, power.watts, known_as=first.name)


def _known_as(offer: Offer, hardware: Hardware) -> str:
    """What a machine's speed is kept under."""
    if offer.gpu is not None or hardware.gpus:
        return offer.gpu.name if offer.gpu is not None else offer.machine
    return device.processor_name(hardware.processor, hardware.cores)


def _config(subject: Subject) -> dict[str, Any]:
    from lorry.trainer.sources.model_folder import read_config

    return read_config(subject.source.folder, subject.source.id)
