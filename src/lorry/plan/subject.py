"""What is checked: a recipe, and what it leads to, each part worked out once, when the first check asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from lorry.plan.hardware import Hardware, look
from lorry.recipe.own_files import ADAPTER
from lorry.recipe.schema import Recipe

if TYPE_CHECKING:
    from lorry.data.prepare import Prepared
    from lorry.data.tokenizer import Tokenizer
    from lorry.plan.fingerprints import Fingerprints
    from lorry.plan.planner import Planner
    from lorry.recipe.earlier import Earlier
    from lorry.recipe.layer import Keys
    from lorry.recipe.load import Loaded
    from lorry.trainer.methods._base import Method
    from lorry.trainer.sources.locate import Source
    from lorry.trainer.sources.tensors import Tensor

_NAMES = {
    "source": "the model",
    "tokenizer": "the tokenizer",
    "prepared": "the data",
    "tensors": "the model's tensors",
    "planner": "an estimate",
    "earlier": "the earlier adapter",
}


class UnavailableError(Exception):
    """A part that a check needs could not be had; the check that owns the part says why."""

    def __init__(self, part: str, cause: Exception) -> None:
        super().__init__(f"{_NAMES.get(part, part)} cannot be had: {cause}")
        self.part = part
        self.cause = cause

    @property
    def name(self) -> str:
        """The part as a person names it."""
        return _NAMES.get(self.part, self.part)


class Subject:
    """A recipe and its parts. Safe to use from several threads; parts that are at hand already can be given."""

    def __init__(self, recipe: Recipe, base: Path, **parts: Any) -> None:
        self.recipe = recipe
        self.base = base
        self.said: tuple[str, ...] = ()
        """What was said of the recipe when it was read."""
        self.about = ""
        """What stands in for what cannot be had, in words; empty where everything is as it will be."""
        self._parts: dict[str, Any] = dict(parts)
        self._failures: dict[str, Exception] = {}
        self._locks = {name: Lock() for name in (*_NAMES, "hardware", "train", "eval", "test")}

    @classmethod
    def of(cls, loaded: Loaded, recipe: Recipe | None = None) -> Subject:
        """A recipe that was read from a file; `recipe` is the form of it that runs, where that is another."""
        to_come = dict(loaded.to_come)
        parts: dict[str, Any] = {"earlier": to_come.pop(ADAPTER)} if ADAPTER in to_come else {}
        parts |= {"judges_to_come": to_come}
        made = cls(recipe or loaded.recipe, loaded.base, **parts)
        made.said = tuple(loaded.warnings)
        return made

    def continuing(self, there: Mapping[Keys, Earlier]) -> Subject:
        """The same, with all that was worked out, now that adapters are there which it continues, or is judged by."""
        judges = {**self.judges_to_come, **{keys: one for keys, one in there.items() if keys != ADAPTER}}
        parts = {**self._parts, "judges_to_come": judges}
        parts |= {"earlier": there[ADAPTER]} if ADAPTER in there else {}
        made = Subject(self.recipe, self.base, **parts)
        made.said, made.about = self.said, self.about
        return made

    @property
    def source(self) -> Source:
        """Where the model lies; its weights need not be there."""
        return cast("Source", self._part("source", self._locate))

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer, with its own template."""
        return cast("Tokenizer", self._part("tokenizer", self._open_tokenizer))

    @property
    def prepared(self) -> Prepared:
        """The rendered rows."""
        return cast("Prepared", self._part("prepared", self._prepare))

    @property
    def tensors(self) -> dict[str, Tensor] | None:
        """The names and shapes of the model's tensors: of its files, of those on the Hub, or of its configuration.

        None where they cannot be known before the weights are here. Those of a configuration have no dtype and no bytes.
        """
        return cast("dict[str, Tensor] | None", self._part("tensors", self._read_tensors))

    @property
    def earlier(self) -> Earlier | None:
        """The adapter that the run continues, which may be yet to come; None where it begins with a fresh one."""
        return cast("Earlier | None", self._part("earlier", self._find_earlier))

    @property
    def judges_to_come(self) -> dict[Keys, Earlier]:
        """Adapters that judge and that another recipe of the same command makes, or has made, by the place that names each."""
        return cast("dict[Keys, Earlier]", self._parts.get("judges_to_come", {}))

    @property
    def judges(self) -> dict[Keys, Earlier]:
        """The adapters that judge answers, by the place that names each. Raises InputError where one names no run."""
        from lorry.recipe.earlier import find_judges

        return find_judges(self.recipe, self.base, self.judges_to_come)

    def fingerprints(self, split: str) -> Fingerprints:
        """What the rows of `train`, `eval` or `test` say, as numbers that are equal where texts are."""
        from lorry.plan.fingerprints import fingerprints

        return cast("Fingerprints", self._part(split, lambda: fingerprints(self.prepared, split, self.tokenizer)))

    @property
    def adapter_parameters(self) -> int:
        """Parameters of the recipe's adapter, as PEFT makes it, a scalar head among them.

        0 without an adapter, or where the model's tensors are not known.
        """
        from lorry.plan.adapter_size import adapter_parameters, with_score
        from lorry.plan.architecture.blueprint import blueprint
        from lorry.trainer.sources.model_folder import read_config

        config = read_config(self.source.folder, self.source.id)
        # Files may store each expert of a mixture by itself, and Transformers holds them as one.
        tensors = blueprint(config) or self.tensors
        if tensors and self.method.head == "score":
            text = config.get("text_config") or config
            tensors = with_score(tensors, int(text.get("hidden_size", 0)))
        lora = self.recipe.lora
        return adapter_parameters(lora, tensors, str(config.get("model_type", ""))) if lora and tensors else 0

    @property
    def planner(self) -> Planner:
        """What estimates memory and time. Unavailable for an architecture of which no sizes are known."""
        from lorry.plan.planner import Planner

        return cast("Planner", self._part("planner", lambda: Planner(self)))

    @property
    def hardware(self) -> Hardware:
        """The machine at hand."""
        return cast("Hardware", self._part("hardware", look))

    @property
    def method(self) -> Method:
        """The recipe's method."""
        from lorry.plugins import make

        return cast("Method", make("methods", self.recipe.method))

    def _part(self, name: str, make: Callable[[], Any]) -> Any:
        """The part, made once. Raises UnavailableError, each time, where making it failed."""
        with self._locks[name]:
            if name in self._failures:
                raise UnavailableError(name, self._failures[name]) from self._failures[name]
            if name not in self._parts:
                try:
                    self._parts[name] = make()
                except UnavailableError:
                    raise
                except Exception as error:
                    self._failures[name] = error
                    raise UnavailableError(name, error) from error
            return self._parts[name]

    def _locate(self) -> Source:
        from lorry.trainer.sources.locate import locate

        return locate(self.recipe.model, self.base, weights=False)

    def _find_earlier(self) -> Earlier | None:
        from lorry.recipe.earlier import find

        named = self.recipe.model.adapter
        return None if named is None else find(named, self.base)

    def _open_tokenizer(self) -> Tokenizer:
        from lorry.data.tokenizer import Tokenizer

        return Tokenizer.open(self.source.folder)

    def _prepare(self) -> Prepared:
        from lorry.data.prepare import prepare

        return prepare(self.recipe, self.base, self.tokenizer)

    def _read_tensors(self) -> dict[str, Tensor] | None:
        from lorry.plan.architecture.blueprint import blueprint
        from lorry.trainer.sources import hub
        from lorry.trainer.sources.model_folder import read_config
        from lorry.trainer.sources.tensors import tensors

        source = self.source
        found = tensors(source.folder)
        if found is None and source.kind == "hub":
            found = hub.tensors(source.id, source.revision)
        if found is not None:
            return found
        config = read_config(source.folder, source.id)
        has_own_code = self.recipe.model.trust_remote_code and "auto_map" in config
        return None if has_own_code else blueprint(config)
