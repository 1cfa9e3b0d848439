# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a configuration, said to whoever wrote it."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel


def explained(error: Any, model: type[BaseModel]) -> str:
    """One pydantic error as "section.key: what is wrong"."""
    location: tuple[int | str, ...] = error["loc"]
    name = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {name!r} (valid here: {', '.join(_keys_at(model, location[:-1]))})"
    if error["type"] == "missing":
        return f"{name}: is missing"
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "value_error":
        text = f"{text}, not {error['input']!r}"
    return f"{name}: {text}" if name else text


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int):  # the place in a list, whose elements were taken as the model already
            continue
        annotation = model.model_fields[part].annotation
        if get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return sorted(model.model_fields)
