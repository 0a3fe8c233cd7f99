"""What any setting's value has to be: readable, finite, of the field's shape."""

from __future__ import annotations

import math
import typing
import unicodedata
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any

from benchmark.errors import BadInput

LONGEST = 4096  # characters; no path is longer on Linux
LARGEST = 2**63  # whole numbers are below it, as in tensors and seeds
# Unicode's control characters, halves of a character, and separators of lines and paragraphs.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def check_text(key: str, value: object) -> None:
    """Refuse texts, also in lists and mappings, that no name has and no message can show.

    Raises:
        BadInput: with the key they are under.
    """
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise BadInput(
                f"{key} has {len(value)} characters, from {value[:20]!a} on: at most {LONGEST} "
                "are taken"
            )
        if odd := [each for each in value if unicodedata.category(each) in UNPRINTABLE]:
            raise BadInput(f"{key} has the character {odd[0]!a}: only printable ones are taken")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            check_text(f"a name in {key}", name)
            check_text(f"{key}.{name}", each)
    elif isinstance(value, Sequence):
        for place, each in enumerate(value):
            check_text(f"{key}[{place}]", each)


def check_value(key: str, value: object, hint: Any) -> None:
    """Refuse what OmegaConf would take for a value of a type, or refuse without its name.

    Args:
        key: the setting's whole name, such as ``method.steps``.
        value: what was given, not yet converted.
        hint: the type of the field: int, float, str, bool, an Enum, lists and dicts of them.

    Raises:
        BadInput: with the key, what came and what was expected.
    """
    hint = _present(hint)
    wanted, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if wanted is list and value is not None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise BadInput(f"{key}: a list is needed, such as [1,2]; got {value}")
        for place, each in enumerate(value):
            check_value(f"{key}[{place}]", each, inner[0])
    elif wanted is dict and value is not None:
        if not isinstance(value, Mapping):
            raise BadInput(f"{key}: named values are needed, such as {{cpu: 20}}; got {value}")
        for name, each in value.items():
            check_value(f"{key}.{name}", each, inner[1])
    elif isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        raise BadInput(f"{key}: one value is needed, not several; got {value}")
    else:
        _check_one(key, value, wanted)


def _check_one(key: str, value: object, wanted: Any) -> None:
    """Refuse numbers that cannot be worked with, and those given for yes or no."""
    if isinstance(value, int) and not -LARGEST < value < LARGEST:
        raise BadInput(f"{key}: a whole number between -2^63 and 2^63 is needed, not one beyond")
    if wanted in (int, float) and _is_infinite(value):
        raise BadInput(f"{key}={value}: a finite number is needed")
    if wanted is bool and isinstance(value, int | float) and not isinstance(value, bool):
        raise BadInput(f"{key}: true or false is needed, got {value}")


def _is_infinite(value: object) -> bool:
    """Whether a number, or a text that OmegaConf would take for one, is NaN or infinite."""
    try:
        return isinstance(value, float | str) and not math.isfinite(float(value))
    except ValueError:
        return False


def _present(hint: Any) -> Any:
    """Return what a field holds that may be None."""
    if typing.get_origin(hint) in (typing.Union, UnionType):
        return next(each for each in typing.get_args(hint) if each is not NoneType)
    return hint
