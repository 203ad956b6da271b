"""A network names its parts; whoever executes it may take their place."""

import pytest

from sdbatch.models.parts import cutting, part


def double(x):
    return 2 * x


def test_a_part_is_itself_where_nobody_cuts():
    assert part(double) is double
    with cutting(None):
        assert part(double) is double


def test_within_the_context_parts_are_replaced():
    with cutting(lambda call: lambda x: call(x) + 1):
        assert part(double)(3) == 7
        with cutting(None):  # as while one part is recorded, which may name parts of its own
            assert part(double)(3) == 6
        assert part(double)(3) == 7
    assert part(double)(3) == 6


def test_an_error_ends_the_context():
    with pytest.raises(ZeroDivisionError), cutting(lambda call: None):
        1 / 0  # noqa: B018
    assert part(double) is double
