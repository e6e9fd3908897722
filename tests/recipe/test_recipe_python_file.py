from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lorry.errors import RecipeError
from lorry.recipe.load import Loaded, load

BASE = """\
from __future__ import annotations
from dataclasses import dataclass, field

@dataclass
class Lora:
    r: int = 8
    lora_alpha: int = 16
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")

@dataclass
class BaseConfig:
    model_name: str = "owner/model"
    dataset_path: str = "data/rows.jsonl"
    num_train_epochs: float = 3.0
    max_steps: int = -1
    train_subset: int = -1
    budget_cap: float = 20.0
    lora: Lora = field(default_factory=Lora)
"""


def run(folder: Path, text: str, *flags: str) -> Loaded:
    file = folder / "experiment.py"
    file.write_text(text, encoding="utf-8")
    return load(file, flags)


def refused(folder: Path, text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        run(folder, text)
    assert "experiment.py" in caught.value.place
    return caught.value


def project(folder: Path, experiment: str) -> Path:
    """A project as people have it: configs/base.py and configs/experiments/x.py."""
    file = folder / "configs" / "experiments" / "x.py"
    file.parent.mkdir(parents=True)
    (folder / "configs" / "base.py").write_text(BASE)
    file.write_text(experiment)
    return file


@pytest.mark.parametrize(
    "line", ["from configs.base import BaseConfig", "from base import BaseConfig", "from ..base import *"]
)
def test_experiment_imports_its_base(tmp_path: Path, line: str):
    file = project(tmp_path, f"{line}\nconfig = BaseConfig(max_steps=500)")
    recipe = load(file).recipe
    assert (recipe.model.id, recipe.train.steps, recipe.budget.usd) == ("owner/model", 500, 20)
    assert recipe.lora is not None
    assert (recipe.lora.rank, recipe.lora.target_modules) == (8, ["q_proj", "v_proj"])


def test_experiment_may_subclass_or_replace(tmp_path: Path):
    text = "import dataclasses\nfrom configs.base import BaseConfig, Lora\n@dataclasses.dataclass\n"
    text += "class Mine(BaseConfig):\n    max_steps: int = 9\nconfig = dataclasses.replace(Mine(), lora=Lora(r=64))"
    recipe = load(project(tmp_path, text)).recipe
    assert recipe.lora is not None
    assert (recipe.train.steps, recipe.lora.rank) == (9, 64)


def test_path_in_a_project_starts_where_the_file_is(tmp_path: Path):
    file = project(tmp_path, "from base import BaseConfig as config")
    assert load(file).recipe.data.train == str(tmp_path / "data" / "rows.jsonl")
    (tmp_path / "configs" / "experiments" / "data").mkdir()
    (tmp_path / "configs" / "experiments" / "data" / "rows.jsonl").touch()
    assert load(file).recipe.data.train == str(tmp_path / "configs" / "experiments" / "data" / "rows.jsonl")


def test_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = list(sys.path)
    load(project(tmp_path, "import base\nprint('loading')\nfrom configs.base import BaseConfig as config"))
    assert sys.path == before
    assert [name for name in sys.modules if name in {"base", "configs", "configs.base", "configs.experiments.x"}] == []
    assert list(tmp_path.rglob("__pycache__")) == []
    assert capsys.readouterr().out == ""


def test_two_projects_do_not_see_each_other(tmp_path: Path):
    first = project(tmp_path / "a", "from configs.base import BaseConfig as config")
    second = project(tmp_path / "b", "from configs.base import BaseConfig as config")
    (tmp_path / "b" / "configs" / "base.py").write_text(BASE.replace("owner/model", "owner/other"))
    assert [load(file).recipe.model.id for file in (first, second)] == ["owner/model", "owner/other"]


def test_line_of_an_inherited_mistake_is_in_the_base(tmp_path: Path):
    file = project(tmp_path, "from base import BaseConfig\nconfig = BaseConfig()")
    base = tmp_path / "configs" / "base.py"
    base.write_text(base.read_text().replace("max_steps: int = -1", "max_stepz: int = -1"))
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert caught.value.place.endswith("base.py:15: max_stepz")
    assert "`max_steps`" in caught.value.hint


def test_recipe_object_is_taken_as_it_is(tmp_path: Path):
    text = "from lorry.recipe.schema import Recipe\n"
    text += "config = Recipe(model={'id': 'a/b'}, data={'train': 'x'}, lora=None, train={'steps': 3})"
    recipe = run(tmp_path, text, "train.keep=1").recipe
    assert (recipe.lora, recipe.train.steps, recipe.train.keep) == (None, 3, 1)


def test_attrs_object_may_be_nested(tmp_path: Path):
    text = """
import attrs
@attrs.define
class Train:
    lr: float = 3e-4
    warmup_ratio: float = 0.1
@attrs.define
class Config:
    model: str = "a/b"
    train_file: str = "x.jsonl"
    training: Train = attrs.Factory(Train)
config = Config()
"""
    train = run(tmp_path, text).recipe.train
    assert (train.learning_rate, train.warmup) == (3e-4, 0.1)


def test_flag_goes_over_a_python_recipe_and_says_so(tmp_path: Path):
    text = "config = {\n 'model': 'a/b',\n 'train': 'x',\n 'max_steps': 3,\n}"
    result = run(tmp_path, text, "train.steps=4")
    assert result.recipe.train.steps == 4
    assert "overrides 3 of" in result.warnings[0]
    assert "experiment.py:4" in result.warnings[0]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("def f():\n    return 1 / 0\nconfig = f()", ":2", "ZeroDivisionError"),
        ("x = 1\nconfig = {", ":2", "SyntaxError"),
        ("import no_such_module_anywhere", ":1", "no_such_module_anywhere"),
        ("raise SystemExit(3)", ":1", "SystemExit"),
        ("import sys\nsys.exit()", ":2", "SystemExit"),
        ("def f():\n    f()\nf()", ":2", "RecursionError"),
        ("x = 1", "", "`config`"),
        ("config = 5", ":1", "int"),
        ("config = None", ":1", "NoneType"),
        ("", "", "`config`"),
        ("from lorry.recipe.schema import Recipe\nconfig = Recipe(model={})", ":2", "model.id: Field required"),
        ("class C(dict):\n    def items(self):\n        raise KeyError('no')\nconfig = C()", ":3", "KeyError"),
    ],
)
def test_error_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, line: str, says: str):
    error = refused(tmp_path, text)
    assert says in error.message
    assert error.place.endswith(f"experiment.py{line}")


def test_value_out_of_bounds_names_the_line_in_the_file(tmp_path: Path):
    error = refused(tmp_path, "config = dict(\n  model='a/b',\n  train='x',\n  r=-1,\n)")
    assert error.place.endswith("experiment.py:4: lora.rank")
    assert "at least 1" in error.message


def test_missing_model_is_told(tmp_path: Path):
    assert "model" in refused(tmp_path, "config = {'train_file': 'x'}").place
