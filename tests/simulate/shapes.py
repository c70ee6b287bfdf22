"""The shape of a JSON value: what two messages of one kind have in common."""

import json
from typing import Any


def shape(value: Any, *, decimals: bool = True) -> Any:
    """Key order, types and numbers of decimals of a JSON value; a list is the set of its elements' shapes."""
    if isinstance(value, dict):
        return [(key, shape(inner, decimals=decimals)) for key, inner in value.items()]
    if isinstance(value, list):
        return ["list", *sorted({json.dumps(shape(inner, decimals=decimals)) for inner in value})]
    if decimals and isinstance(value, str) and "." in value:
        return f"text with {len(value.partition('.')[2])} decimals"
    return type(value).__name__


def fields(value: Any) -> Any:
    """Key order and types, of a venue whose decimals vary with the number."""
    return shape(value, decimals=False)
