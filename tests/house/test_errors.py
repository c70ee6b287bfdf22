"""The tree of errors is closed: drawn, exported and raised names agree."""

import inspect
import re

import pytest

from tidebook import _core, errors


def classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.TidebookError)
    }


def test_every_error_stands_in_the_drawing_under_its_parent() -> None:
    """Method: read the drawing back into child -> parent and compare it whole with the classes."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        drawn[found[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {name: value.__base__.__name__ for name, value in classes().items() if value.__base__}


def test_every_error_the_core_raises_is_a_class_of_ours() -> None:
    assert set(_core.error_classes()) <= set(classes())


def test_an_error_of_the_core_arrives_with_its_message_and_facts() -> None:
    with pytest.raises(errors.DecimalError) as caught:
        _core.parse_units("1.239", 2)
    assert str(caught.value) == '"1.239": 3 decimals where the instrument has 2'
    assert caught.value.facts == {"found": 3, "exponent": 2}


def test_every_error_tells_a_caller_what_it_means() -> None:
    for name, value in classes().items():
        assert value.__doc__, name
        assert not hasattr(value, "code"), name
