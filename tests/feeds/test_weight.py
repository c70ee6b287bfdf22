"""The budget of REST weight, second by second."""

from tidebook.feeds.weight import WeightBudget


def test_weight_is_taken_until_the_minute_is_full_and_given_back_with_the_next() -> None:
    budget = WeightBudget(limit=100)
    assert [budget.delay_s(120.0, 50) for _ in range(2)] == [0.0, 0.0]
    assert budget.delay_s(130.0, 50) == 50.0
    assert budget.delay_s(179.5, 50) == 0.5
    assert budget.delay_s(180.0, 50) == 0.0


def test_the_venues_own_count_is_believed_when_it_is_higher() -> None:
    budget = WeightBudget(limit=100)
    assert budget.delay_s(120.0, 20) == 0.0
    budget.heard(121.0, 90)
    assert budget.delay_s(122.0, 20) == 58.0
    budget.heard(123.0, 5)
    assert budget.delay_s(124.0, 20) == 56.0
