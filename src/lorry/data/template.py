"""Chat templates: Jinja as Transformers runs it, in the same sandbox, with the same filters, globals and tags.

Follows `transformers/utils/chat_template_utils.py` of 5.23, so that a conversation gives the same text here and there.
Two things are added, for templates come from strangers: a text may not pass `MAX_CHARS`, and repeating a string cannot
fill the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from lorry.data.rows import Message
from lorry.errors import DataError

MAX_CHARS = 64 * 1024 * 1024
"""Longest text that a template may write."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template called `chatml`, for models that come without one."""

PLAIN = (
    "{% for message in messages %}{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
"""The template called `plain`, for rows that hold every sign that is wanted: turns as they stand, and the end of answers."""

_PROBE = "lorry-probe"
_REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """A compiled chat template. Raises DataError when it cannot be compiled."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._template = _compile(text)
        except TemplateSyntaxError as error:
            hint = "correct the template, or set `data.chat_template` to a file or to `chatml`"
            message = f"the chat template cannot be compiled: line {error.lineno}: {error.message}"
            raise DataError(message, hint=hint) from error

    def render(self, messages: Sequence[Message], **values: Any) -> str:
        """The text of a conversation. Raises DataError with what the template, or Jinja, says is wrong."""
        try:
            seen = _as_seen(messages)
            seen = seen if self._reads_texts else [_in_parts(message) for message in seen]
            text = self._template.render(messages=seen, documents=None, **values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise DataError(f"the chat template fails: {reason}", hint=_hint(error)) from error
        except (RecursionError, MemoryError) as error:
            raise DataError("the chat template fails: the conversation is nested too deeply or too large") from error
        if len(text) > MAX_CHARS:
            raise DataError(f"the chat template writes {len(text):,} characters", hint=f"{MAX_CHARS:,} are allowed")
        return text

    def shows_images(self, token: str) -> bool:
        """Whether it writes this token where a turn has an image among its typed parts."""
        found = self._probed([{"type": "image"}, {"type": "text", "text": _PROBE}])
        return found.count(token) == 1 and _PROBE in found

    @cached_property
    def _reads_texts(self) -> bool:
        """Whether it writes turns whose content is text, and not only typed parts, as those of some vision models."""
        if "type" not in self.text or _PROBE in self._probed(_PROBE):
            return True
        return _PROBE not in self._probed([{"type": "text", "text": _PROBE}])

    def _probed(self, content: Any) -> str:
        """What it writes of a user turn; nothing where it fails."""
        try:
            return self._template.render(messages=[{"role": "user", "content": content}], documents=None)
        except Exception:  # whatever a template fails with, on its own or in Jinja
            return ""

    @property
    def tells_time(self) -> bool:
        """Whether the text may hold today's date."""
        return "strftime_now" in self.text


def _in_parts(message: Message) -> Message:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def plain(value: Any) -> Any:
    """The value as JSON has it; what JSON has not becomes its type's name, as Transformers does it."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {plain(key): plain(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return f"<{type(value).__name__}>"


def _as_seen(messages: Sequence[Message]) -> list[Message]:
    """Messages as Transformers hands them to templates: no empty keys, reasoning under each of its names."""
    seen: list[Message] = []
    for message in messages:
        kept: Message = {key: plain(value) for key, value in message.items() if value is not None}
        reasoning = next((kept[key] for key in _REASONING if key in kept), None)
        if reasoning is not None:
            kept = {"thinking": reasoning, **kept, "reasoning_content": reasoning}
        seen.append(kept)
    return seen


def _hint(error: Exception) -> str:
    if "role" in str(error).lower() or "alternate" in str(error).lower():
        return "this model's template refuses such turns: change the rows, or set `data.chat_template`"
    return "change the row, or set `data.chat_template` to a template that can show it"


@lru_cache(maxsize=16)
def _compile(text: str) -> Any:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    offered: dict[str, Any] = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    offered |= {"dict": _Dict(), "namespace": _Namespace}
    cast("dict[str, Any]", environment.globals).update(offered)
    template = environment.from_string(text)
    # Jinja copies them for each text, and the chain of mappings that it keeps them in is slow to copy.
    template.globals = dict(template.globals)
    return template


_DICT_NAMES = frozenset(dir(dict))
_LOOP_NAMES = frozenset(["first", "last", "index", "index0", "length", "revindex", "revindex0", "previtem", "nextitem"])


class _Environment(ImmutableSandboxedEnvironment):
    """Transformers' sandbox, with a bound on what `*`, `**` and `%` may build."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the sandbox does it, with short ways for what templates ask all the time."""
        if type(obj) is dict and attribute not in _DICT_NAMES:
            fields = cast("dict[str, Any]", obj)
            return fields[attribute] if attribute in fields else super().getattr(obj, attribute)
        if type(obj) is LoopContext and attribute in _LOOP_NAMES:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(times, int):
                    _bound(len(cast("Sequence[Any]", sequence)) * times)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _bound(left.bit_length() * right)
        elif isinstance(left, str):
            # A width such as in "%1000000000d" would be obeyed.
            _bound(sum(int(digits) for digits in _digits(left)))
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for Transformers; what it holds is written as it is."""

    tags = {"generation"}  # noqa: RUF012 - Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_held"), [], [], body).set_lineno(line)

    def _held(self, caller: Macro) -> str:
        return caller()


class _Dict:
    """`dict` without the attributes of Python's own."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """Jinja's namespace, closed to Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # No `self` in the signature, so that `namespace(self=...)` works, as in Jinja.
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        Namespace.__setitem__(self, name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    # Local time without a zone, because Transformers writes that.
    return datetime.now().strftime(form)


def _bound(size: int) -> None:
    if size > MAX_CHARS:
        raise SecurityError(f"the template builds a value of {size:,} characters")


def _digits(text: str) -> list[str]:
    found = "".join(sign if sign.isascii() and sign.isdigit() else " " for sign in text).split()
    return [digits[:12] for digits in found]
