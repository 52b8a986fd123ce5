"""Which images make a batch, in one process and in several."""

from __future__ import annotations

import pytest

from weakspot.training.datamodule import EpochShuffle, Shares


@pytest.mark.parametrize(("images", "batch", "world"), [(44, 10, 2), (41, 10, 2), (7, 3, 3), (1, 4, 2), (12, 4, 1)])
def test_the_shares_of_a_batch_are_the_batch_and_nothing_is_seen_twice(images: int, batch: int, world: int) -> None:
    order = EpochShuffle(images, seed=3)
    order.set_epoch(5)
    whole = list(order)
    shares = [list(Shares(order, batch, rank, world)) for rank in range(world)]
    assert {len(share) for share in shares} == {len(Shares(order, batch))} == {-(-images // batch)}
    for step, parts in enumerate(zip(*shares, strict=True)):
        assert sorted(index for part in parts for index in part) == sorted(whole[step * batch : (step + 1) * batch])
    assert sorted(index for share in shares for part in share for index in part) == list(range(images))


def test_each_epoch_draws_every_image_once_and_in_time_every_view() -> None:
    order = EpochShuffle(5, seed=1, views=4)
    drawn = set()
    for epoch in range(40):
        order.set_epoch(epoch)
        items = list(order)
        assert sorted(item // 4 for item in items) == list(range(5))
        assert items == list(order)
        drawn |= set(items)
    assert drawn == set(range(20))
    assert len(order) == 5
