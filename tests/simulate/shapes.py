"""The shape of a JSON value: what two messages of one kind have in common."""

import json
from typing import Any


def shape(value: Any) -> Any:
    """Key order, types and decimals of a JSON value; a list is the set of its elements' shapes."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return ["list", *sorted({json.dumps(shape(inner)) for inner in value})]
    if isinstance(value, str) and "." in value:
        return f"text with {len(value.partition('.')[2])} decimals"
    return type(value).__name__
