"""What every part of a recipe has in common: unknown keys are refused, and values are plain."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

Selected = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)
]
"""A plugin chosen by name: `sft`, or `{name: sft, train_on: all}` with its own settings."""

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes of a file's name, and of a path, that Linux takes; other systems take no longer ones."""


def nameable(path: str) -> str:
    """The path, if a file could have it."""
    raw = path.encode("utf-8", "surrogatepass")
    if len(raw) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in raw.split(b"/")):
        raise ValueError("is longer than any file's name can be")
    return path


FileName = Annotated[Name, AfterValidator(nameable)]

_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


class Section(BaseModel):
    """A part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no number, though Python counts it as 1; and no setting needs more than 2^53."""
        expected = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and expected is not bool and not {bool, Any} & set(get_args(expected)):
            raise ValueError(f"must not be {str(value).lower()}")
        if isinstance(value, int) and abs(value) > 2**53:
            raise ValueError("is too large")
        texts: list[Any] = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and _UNUSABLE.search(text) for text in texts):
            raise ValueError("holds a character that no file name and no prompt can have")
        return value
