"""A part of a recipe: what all of them refuse."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]

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
