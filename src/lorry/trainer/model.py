"""A model ready to be trained or asked: loaded in the right precision, with its adapter, and a way to run it over forests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, BitsAndBytesConfig, PreTrainedModel, set_seed

from lorry import plugins
from lorry.data.images.families import PLANAR
from lorry.data.tokenizer import Tokenizer
from lorry.errors import ModelError
from lorry.plan.adapter_places import places
from lorry.recipe.schema import LoraSettings, ModelSettings, Recipe
from lorry.trainer import attention, hardware, lora_experts, lora_linear
from lorry.trainer.architectures import class_for, head_of, is_proven, makes_the_same_logits, reads_images
from lorry.trainer.forward import Forward
from lorry.trainer.liger import use_liger
from lorry.trainer.methods._base import Head, Method
from lorry.trainer.precision import SEEING, Precision, decide
from lorry.trainer.routers import routers_of
from lorry.trainer.score_head import SCORE, load_scoring, score_of
from lorry.trainer.untouched import excluded
from lorry.trainer.vision.eyes import Eyes, are_trained
from lorry.trainer.vision.pixels import Pixels

attention.register()


@dataclass
class LoadedModel:
    """A model on its device, with or without an adapter around it."""

    model: Any
    """A `peft.PeftModel`, or the plain model when all weights are trained or nothing was added."""
    device: torch.device
    precision: Precision
    forward: Forward
    has_adapter: bool
    notes: list[str] = field(default_factory=list[str])
    """What was resolved or switched that the person should know."""
    value_head: torch.nn.Linear | None = None
    """From a hidden state to the reward that can be expected, in fp32; for methods that learn one. It is not delivered."""

    @property
    def dtype(self) -> torch.dtype:
        """Format of the frozen weights."""
        return getattr(torch, self.precision.weights)

    def base_disabled(self) -> AbstractContextManager[Any]:
        """Within this context the adapter is off and the base model answers. Raises ValueError where there is no adapter."""
        if not self.has_adapter:
            raise ValueError("all weights were trained: the base model must be loaded by itself")
        return self.model.disable_adapter()

    @property
    def drops(self) -> bool:
        """Whether training draws dropout, the adapter's or the model's own: rows that share a token would share its draw."""
        settings = self.model.config.to_dict()
        parts = (settings, settings.get("text_config") or {}, settings.get("vision_config") or {})
        every = (item for part in parts for item in part.items())
        own = (value for name, value in every if "drop" in name and not name.startswith("classifier"))
        modules = (module.p for module in self.model.modules() if isinstance(module, torch.nn.Dropout))
        return any(isinstance(share, int | float) and share > 0 for share in (*own, *modules))

    def computing(self) -> AbstractContextManager[Any]:
        """The context in which forward passes run: autocast where weights are kept in more than is computed in."""
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision.autocast))

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """What the optimizer changes."""
        own = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return own if self.value_head is None else [*own, *self.value_head.parameters()]

    def add_value_head(self) -> None:
        """Begins a value head that expects nothing anywhere."""
        config = self.model.config.get_text_config()
        head = torch.nn.Linear(config.hidden_size, 1, device=self.device, dtype=torch.float32)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        self.value_head = head

    @property
    def can_checkpoint_activations(self) -> bool:
        """Whether the architecture can compute activations twice instead of keeping them."""
        return bool(getattr(self.base, "supports_gradient_checkpointing", False))

    def checkpoint_activations(self) -> None:
        """Computes activations twice from now on, instead of keeping them; doing it again changes nothing."""
        self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    @property
    def base(self) -> Any:
        """The model without what PEFT put around it; the adapter's layers are in it."""
        return self.model.get_base_model() if self.has_adapter else self.model

    def frozen_sha256(self) -> str:
        """Hash of all weights that must not change."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.model.named_parameters()):
            if not parameter.requires_grad:
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @contextmanager
    def answering(self) -> Generator[None]:
        """Evaluation mode within, training mode as it was after."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)


def load(
    recipe: Recipe,
    folder: Path,
    *,
    adapter: Path | None = None,
    trainable: bool = True,
    base: PreTrainedModel | None = None,
) -> LoadedModel:
    """The recipe's model from its folder.

    With `trainable` the recipe's own adapter is added (continuing `model.adapter` when given), after the seed is set.
    `adapter` puts an existing adapter on for answering only. `base` is the model without it, where that is in memory.
    Raises ModelError when the model does not fit the recipe.
    """
    device = hardware.device()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = recipe.model.tf32
    is_full = recipe.lora is None
    config = AutoConfig.from_pretrained(folder, trust_remote_code=recipe.model.trust_remote_code is not None)
    precision = decide(
        recipe.model.precision,
        str(config.dtype or torch.float32).removeprefix("torch."),
        device=device.type,
        has_bf16=hardware.has_bf16(device),
        full=is_full and trainable,
    )
    notes = [f"precision {precision.weights}: {precision.why}"]
    base = base or _base(recipe, folder, config, precision, notes)
    head = score_of(base) if head_for(recipe) == "score" else head_of(base)
    if not _is_known(recipe.model, config) and not makes_the_same_logits(base, head):
        hint = (
            "lorry takes logits from hidden states by itself, and this architecture does more there: take another model"
        )
        raise ModelError(f"lorry cannot train a `{config.model_type}` model", place="model.id", hint=hint)
    if head_for(recipe) == "score":
        base.score.float()  # pyright: ignore - trained, as all that is, in fp32
    notes += use_liger(base, recipe.train, device)
    set_seed(recipe.train.seed)
    model = _with_adapter(recipe, base, adapter, trainable, notes)
    forward = _forward(recipe, base, head, notes)
    if reads_images(config):
        forward.body, forward.eyes = base.base_model, _eyes(recipe, folder, base, device)
        forward.planar = config.model_type in PLANAR
    return LoadedModel(model, device, precision, forward, model is not base, notes)


def _eyes(recipe: Recipe, folder: Path, base: PreTrainedModel, device: torch.device) -> Eyes | None:
    """None for a vision part that lorry cannot show images to; rows with images are refused for such a model."""
    vision = Tokenizer.open(folder).vision
    if vision is None:
        return None
    pixels = Pixels(folder, replace(vision, max_pixels=recipe.data.max_pixels))
    return Eyes(base.base_model, device, pixels, vision.token_id, are_trained(base.base_model))


def head_for(recipe: Recipe) -> Head:
    """The head that the recipe's method needs."""
    return cast("type[Method]", plugins.find("methods", recipe.method["name"])).head


def _base(recipe: Recipe, folder: Path, config: Any, precision: Precision, notes: list[str]) -> PreTrainedModel:
    settings, head = recipe.model, head_for(recipe)
    options: dict[str, Any] = {
        "dtype": getattr(torch, precision.weights),
        "attn_implementation": _attention(settings, config),
        "trust_remote_code": settings.trust_remote_code is not None,
        "device_map": {"": hardware.device()},
    }
    quantization = _quantization(settings, config, precision, notes, head)
    if quantization is not None:  # given as None it would take the place of what the checkpoint says of itself
        options["quantization_config"] = quantization
    try:
        if head == "score":
            base = load_scoring(folder, recipe.train.seed, options)
        else:
            base = class_for(config).from_pretrained(folder, **options)
    except (ValueError, KeyError, OSError, ImportError) as error:
        hint = "`lorry check` tells what the folder lacks"
        raise ModelError(f"the model cannot be loaded: {error}", place=settings.id, hint=hint) from error
    for module in base.modules():
        # On processors bitsandbytes repacks 4-bit weights in place when a model first answers, and no longer trains then.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return base


def _quantization(
    settings: ModelSettings, config: Any, precision: Precision, notes: list[str], head: Head = "language"
) -> Any:
    if getattr(config, "quantization_config", None) is not None:
        if settings.quantization != "none":
            notes.append(f"the model comes quantised; model.quantization: {settings.quantization} is left aside")
        return None
    compute = getattr(torch, precision.weights)
    # Transformers takes each for a pattern from a name's beginning; where none is given, it finds the output layer by itself.
    seeing = [rf"(?:.*\.)?{name}\." for name in SEEING] if hasattr(config, "vision_config") else []
    scores = head == "score"
    whole = [SCORE if scores else "lm_head", *seeing] if seeing or scores else None
    return {
        "none": None,
        "int8": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole),
        "nf4": BitsAndBytesConfig(
            load_in_4bit=True,
            llm_int8_skip_modules=whole,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=settings.double_quantization,
            bnb_4bit_compute_dtype=compute,
        ),
    }[settings.quantization]


def _attention(settings: ModelSettings, config: Any) -> str | dict[str, str] | None:
    """The implementation to ask Transformers for; None leaves it to the model, for not every one can do `sdpa`."""
    if settings.attention == "auto" and reads_images(config):
        # The vision part attends within an image, not along rows.
        parts = {"": attention.NAME, "text_config": attention.NAME, "vision_config": "sdpa"}
        return parts if _is_known(settings, config) else None
    if settings.attention == "auto":
        return attention.NAME if _is_known(settings, config) else None
    return {"flash": "flash_attention_2", "sdpa": "sdpa"}[settings.attention]


def _is_known(settings: ModelSettings, config: Any) -> bool:
    """Whether the architecture is proven. A model with code of its own may say that it is a `llama`, and be another."""
    return is_proven(config) and not (settings.trust_remote_code and hasattr(config, "auto_map"))


def _with_adapter(
    recipe: Recipe, base: PreTrainedModel, adapter: Path | None, trainable: bool, notes: list[str]
) -> Any:
    from peft import PeftModel, get_peft_model

    if adapter is not None:
        model = PeftModel.from_pretrained(cast("Any", base), adapter, is_trainable=trainable)
    elif not trainable:
        return base.requires_grad_(False)
    elif recipe.model.adapter:
        model = _continued(recipe, base, Path(recipe.model.adapter), notes)
    elif recipe.lora is None:
        base.train()
        return base
    else:
        model = get_peft_model(cast("Any", base), lora_config(recipe.lora, head_for(recipe), base))
    lora_linear.speed_up(model)
    lora_experts.speed_up(model)
    for settings in model.peft_config.values():
        # The folder that the model was loaded from may be lorry's cache, which means nothing on another machine.
        settings.base_model_name_or_path, settings.revision = recipe.model.id, recipe.model.revision
        if head_for(recipe) == "score":
            cast("Any", settings).modules_to_save = [SCORE]  # PEFT adds every name that it has seen for such a head
    return model.train(trainable)


def put_adapter(loaded: LoadedModel, folder: Path) -> None:
    """Puts the weights of an adapter's folder into the adapter that the model has; the base stays in memory as it is.

    Raises ModelError when they do not belong there.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result = set_peft_model_state_dict(loaded.model, load_file(folder / "adapter_model.safetensors"))
    if result.unexpected_keys:
        raise ModelError(f"the model has no place for {result.unexpected_keys[0]}", place=str(folder))


def lora_config(lora: LoraSettings, head: Head = "language", base: torch.nn.Module | None = None) -> Any:
    """PEFT's configuration of the recipe's adapter on `base`; a scalar head is trained as a whole, and kept with it."""
    from peft import LoraConfig

    shapes = {name: tuple(weight.shape) for name, weight in base.named_parameters()} if base else {}
    names = [name for name, _ in base.named_modules()] if base else []
    on = places(lora, shapes, str(base.config.model_type) if base else "")  # pyright: ignore
    return LoraConfig(
        r=lora.rank,
        lora_alpha=cast("int", lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=on.modules,
        target_parameters=on.parameters or None,
        exclude_modules=excluded(lora, names),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        **_task(head),
    )


def _task(head: Head) -> dict[str, Any]:
    if head == "score":
        return {"task_type": "SEQ_CLS", "modules_to_save": [SCORE]}
    return {"task_type": "CAUSAL_LM"}


def _continued(recipe: Recipe, base: PreTrainedModel, earlier: Path, notes: list[str]) -> Any:
    """An earlier adapter to train on. Its dropout becomes the recipe's: that is no part of what it has learnt."""
    from peft import LoraConfig, PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(str(earlier))
    wanted = recipe.lora
    if not isinstance(config, LoraConfig) or wanted is None:
        hint = "name the `adapter` folder of a run that trained with lora:"
        raise ModelError(f"{earlier} holds no LoRA adapter to continue", place="model.adapter", hint=hint)
    if (config.r, float(config.lora_alpha)) != (wanted.rank, float(wanted.alpha)):
        raise ModelError(
            f"the earlier adapter has rank {config.r} and alpha {config.lora_alpha}, which lora: does not say",
            place="model.adapter",
            hint=f"set `lora.rank: {config.r}` and `lora.alpha: {config.lora_alpha}`",
        )
    config.lora_dropout = wanted.dropout
    notes.append(f"continues the adapter in {recipe.model.adapter}")
    is_reward, scores = config.task_type == "SEQ_CLS", head_for(recipe) == "score"
    if is_reward and not scores:
        hint = "name an adapter that was trained to answer"
        raise ModelError("the earlier adapter is that of a reward model", place="model.adapter", hint=hint)
    if scores and not is_reward:
        notes.append("the earlier adapter has no head for rewards: a new one begins")
        return _with_new_head(base, earlier, config)
    return PeftModel.from_pretrained(cast("Any", base), earlier, is_trainable=True, config=config)


def _with_new_head(base: PreTrainedModel, earlier: Path, config: Any) -> Any:
    """An adapter that learnt to answer, to go on as a reward model's under the head that the model has."""
    from peft import get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    for name, value in {**_task("score"), "inference_mode": False}.items():
        setattr(config, name, value)
    model = get_peft_model(cast("Any", base), config)
    begun = cast("Any", base).score.original_module.state_dict()
    head = {f"base_model.model.{SCORE}.{name}": weight for name, weight in begun.items()}
    set_peft_model_state_dict(model, {**load_file(earlier / "adapter_model.safetensors"), **head})
    return model


def _forward(
    recipe: Recipe, base: PreTrainedModel, head: Callable[[torch.Tensor], torch.Tensor], notes: list[str]
) -> Forward:
    ways = {attention.NAME: "forest", "flash_attention_2": "flash"}
    text = base.config.get_text_config()
    way = ways.get(str(text._attn_implementation), "padded")  # pyright: ignore[reportPrivateUsage]
    if way == "padded" and recipe.model.attention == "auto":
        kind = getattr(base.config, "model_type", "unknown")
        notes.append(f"rows are computed whole: shared beginnings have not been proven for the architecture {kind}")
    if recipe.train.activation_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    vocabulary = int(base.get_input_embeddings().weight.shape[0])  # pyright: ignore
    routers = routers_of(base, recipe.train.router_aux_loss_coef)
    if routers is not None and routers.coefficient:
        notes.append(
            f"the loss that evens the experts' load counts {routers.coefficient:g} times, over each optimizer step"
        )
    return Forward(base.get_decoder(), head, hardware.device(), way, vocabulary, routers)
