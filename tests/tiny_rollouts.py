"""Recipes of methods that learn from their own answers, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_runs

PROMPTS = [{"prompt": f"{word} {at}", "answer": word, "level": at} for at, word in enumerate(tiny_runs.WORDS * 3)]
REWARDS = '''
def vowels(completion):
    """The share of letters that are vowels: rises with training, and differs from answer to answer."""
    return sum(letter in "aeiouy" for letter in completion) / max(len(completion), 1)


def brevity(prompts, completions, level, **columns):
    return [1 / (1 + len(completion)) for completion in completions]
'''
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"group_size": 2, "beta": 0.1, "epochs": 2},
    "ppo": {"epochs": 2, "target_kl": 0.5},
}


def recipe(folder: Path, name: str, **sections: Any) -> dict[str, Any]:
    """Six steps of four answers to 24 prompts, judged by a function and a metric."""
    settings = {"max_new_tokens": 8, "rewards": ["rewards.py:vowels", "exact_match"], **METHODS[name]}
    train = {"steps": 6, "eval_every": 2, **sections.pop("train", {})}
    values = tiny_runs.recipe(folder, train=train, **{name: one for name, one in sections.items() if name != "method"})
    tiny_runs.write_rows(folder / "rows.jsonl", PROMPTS)
    (folder / "rewards.py").write_text(REWARDS, encoding="utf-8")
    values["method"] = {"name": name, **settings, **sections.get("method", {})}
    values["method"]["rewards"] = [_placed(folder, one) for one in values["method"]["rewards"]]
    return values


def _placed(folder: Path, reward: Any) -> Any:
    return f"{folder}/{reward}" if isinstance(reward, str) and ".py:" in reward else reward
