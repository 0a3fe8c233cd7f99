"""A node of the configuration turned into the frozen dataclass that it names."""

from __future__ import annotations

import dataclasses
import importlib
import traceback
import typing
from enum import Enum
from types import NoneType, UnionType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.advice import did_you_mean, near, one_line
from benchmark.errors import BadInput
from benchmark.resolvers import ABOUT
from benchmark.setting_values import check_text, check_value


def build(node: DictConfig, key: str) -> Any:
    """Make the object that a node's ``_target_`` names, out of the node's other values.

    Nested nodes with a ``_target_`` are built first. The target has to be a dataclass: its fields
    are the schema, so a wrong type, an unknown key and a missing value are refused by name. The key
    is where the node stands, empty for the whole of a file.

    Raises:
        BadInput: with the key, such as ``method.res``, what came and what was expected.
    """
    check_texts(key, node)
    try:
        values = _items(node) if isinstance(node, DictConfig) else {}
    except OmegaConfBaseException as error:  # what a value refers to is not there
        raise BadInput(one_line(error)) from error
    values.pop(ABOUT, None)
    target = values.pop("_target_", None)
    if not isinstance(target, str):
        raise BadInput(f"{key} needs a _target_, the dataclass it stands for; got {_short(node)}")
    prefix = f"{key}." if key else ""
    built = {
        name: build(value, f"{prefix}{name}")
        for name, value in values.items()
        if isinstance(value, DictConfig) and "_target_" in value
    }
    try:
        return checked(_find(target, key), values, prefix, built)
    except OmegaConfBaseException as error:  # a value within a value is missing
        raise BadInput(one_line(error)) from error


def check_texts(key: str, value: Any) -> None:
    """Refuse unprintable characters and overlong texts, but in what is said of a method to people.

    Raises:
        BadInput: with the key they are under.
    """
    check_text(key, _plain(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value))


def _plain(value: Any) -> Any:
    """Leave out what is said of a method to people, which may have lines."""
    if not isinstance(value, dict):
        return value
    return {name: _plain(each) for name, each in value.items() if name != ABOUT}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _items(node: DictConfig) -> dict[str, Any]:
    return {str(key): node[key] for key in node if not OmegaConf.is_missing(node, key)}


def _find(target: str, key: str) -> type:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything while it is read
        text = f"{key}._target_={target} cannot be imported: {error}"
        raise BadInput(text + _where(error)) from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise BadInput(f"{key}._target_={target} is not a dataclass")
    return found


def _where(error: Exception) -> str:
    """Name the first line that has led to it, but for Python's own imports; where there is one."""
    own = ("<frozen", importlib.__file__, __file__)
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if not each.filename.startswith(own)
    ]
    return f" ({frames[0].filename}, line {frames[0].lineno})" if frames else ""


def checked(cls: type, values: dict[str, Any], prefix: str, built: dict[str, Any]) -> Any:
    """Validate values against the fields of a dataclass and make one.

    Args:
        cls: the dataclass.
        values: by the names of its fields.
        prefix: what stands before a name in messages, such as ``method.``.
        built: fields whose objects are made already.

    Raises:
        BadInput: an unknown name, a missing or a wrong value.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    if unknown := [name for name in values if name not in names]:
        meant = did_you_mean([f"{prefix}{each}" for each in near(unknown[0], names)])
        told = f": {meant} It" if meant else "; it"
        raise BadInput(
            f"{prefix}{unknown[0]} is not a setting of {cls.__name__}{told} has {', '.join(names)}"
        )
    if missing := [
        field.name
        for field in dataclasses.fields(cls)
        if field.init
        and field.name not in values
        and field.default is field.default_factory is dataclasses.MISSING
    ]:
        raise BadInput(f"{prefix}{missing[0]} is missing: {cls.__name__} needs a value for it")
    plain = {name: value for name, value in values.items() if _is_plain(hints[name])}
    for name, value in plain.items():
        if isinstance(hints[name], type) and issubclass(hints[name], Enum):
            choices = [choice.name for choice in hints[name]]
            if not isinstance(value, hints[name]) and value not in choices:
                raise BadInput(f"{prefix}{name}={value} is none of {', '.join(choices)}")
        check_value(f"{prefix}{name}", value, hints[name])
    schema = dataclasses.make_dataclass("Schema", [(name, hints[name]) for name in plain])
    try:
        node = OmegaConf.merge(OmegaConf.structured(schema), plain)
        typed = OmegaConf.to_container(node)
    except OmegaConfBaseException as error:
        raise BadInput(prefix + one_line(error)) from error
    for name, value in cast(dict[str, Any], typed).items():
        check_value(f"{prefix}{name}", value, hints[name])  # a text may have become a number
    rest = {name: built.get(name, value) for name, value in values.items() if name not in plain}
    for name, value in rest.items():
        if name not in built and not _is_node(hints[name], value):
            raise BadInput(
                f"{prefix}{name} needs a _target_, the dataclass it stands for; got {_short(value)}"
            )
    return cls(**cast(dict[str, Any], typed), **rest)


def _is_node(hint: Any, value: Any) -> bool:
    """Whether a value is the node, or the absence of one, that a field takes as it is."""
    if hint is DictConfig:
        return isinstance(value, DictConfig)
    return hint == (DictConfig | None) and (value is None or isinstance(value, DictConfig))


def _is_plain(hint: Any) -> bool:
    """Whether OmegaConf can check values of this type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, UnionType, list, dict):
        return all(_is_plain(each) for each in arguments if each is not NoneType)
    return hint in (int, float, str, bool) or (isinstance(hint, type) and issubclass(hint, Enum))
