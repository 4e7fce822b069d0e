"""The error tree: the one drawn in the docstring, with the exit codes that the command line promises."""

import inspect
import re

import pytest

from tabsynth import console, errors

CLASSES = {name: item for name, item in vars(errors).items() if inspect.isclass(item)}


def test_the_drawn_tree_is_the_real_one():
    drawn = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^    ([│├└─ ]*)(\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {name: item.__bases__[0].__name__ for name, item in CLASSES.items()}


def test_the_drawn_exit_codes_are_the_real_ones():
    drawn = {name: int(code) for name, code in re.findall(r"(\w+)  .*exit (\d)$", errors.__doc__ or "", re.MULTILINE)}
    assert drawn == {"InputError": 2, "ConformanceError": 1, "Refused": 3, "BudgetExceeded": 4}
    for name, item in CLASSES.items():
        parent = next((parent for parent in item.__mro__ if parent.__name__ in drawn), None)
        assert item.exit_code == (drawn[parent.__name__] if parent else 1), name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_can_be_caught_at_the_root(name):
    with pytest.raises(errors.TabsynthError, match="what came"):
        raise CLASSES[name]("what came")


def test_bad_input_is_a_value_error_and_a_refusal_is_not():
    assert issubclass(errors.InputError, ValueError)
    assert not issubclass(errors.Refused, ValueError)
    assert not issubclass(errors.BudgetExceeded, ValueError)


def test_colons_in_a_message_are_no_pictures(capsys):
    console.fail(False, "Constraint predicate rules:key: 2 [b]columns[/b]", "SchemaError", 2)
    assert capsys.readouterr().err == "Error: Constraint predicate rules:key: 2 [b]columns[/b]\n"
