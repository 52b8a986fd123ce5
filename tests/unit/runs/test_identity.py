"""What makes two runs the same."""

from __future__ import annotations

from helpers.runs import TINY, train_config

from weakspot.runs.identity import fit_identity, settings_identity


def test_where_a_model_is_trained_does_not_change_what_it_is_but_precision_does() -> None:
    def identities(*overrides: str) -> tuple[str, str]:
        config = train_config(*TINY, "data.root=x", *overrides)
        return settings_identity(config), fit_identity(config, _Preprocess(), "d", "s", "w")  # type: ignore[arg-type]

    plain = identities()
    assert identities("trainer=ddp") == plain
    assert identities("trainer=ddp", "trainer.devices=4") == plain
    half = identities("trainer.precision=bf16-mixed")
    assert half[0] != plain[0]
    assert half[1] != plain[1]


def test_what_nobody_drew_changes_nothing_and_what_was_drawn_does() -> None:
    def identity(*overrides: str, drawn: str | None = None) -> str:
        config = train_config(*TINY, "data.root=x", "refine=segment", *overrides)
        return fit_identity(config, _Preprocess(), "d", "s", "w", drawn=drawn)  # type: ignore[arg-type]

    plain = identity()
    assert identity("refine.correction_steps=5") == plain  # there is nothing to take steps for
    assert identity("data.annotations=elsewhere.json") == plain  # what is in it counts, not where it lies
    assert len({plain, identity(drawn="a"), identity(drawn="b"), identity("refine.correction_steps=5", drawn="a")}) == 4
    settings = [settings_identity(train_config(*TINY, "data.root=x", *more)) for more in ([], ["data.use_masks=train"])]
    assert settings[0] != settings[1]


class _Preprocess:
    def identity(self) -> dict[str, int]:
        return {}
