"""The codec's promise on heavy tails, and that it beats each baseline."""

from gi_model.bench_codec import run


def test_error_on_heavy_tails_is_below_five_percent_and_below_every_baseline() -> None:
    scores = run()
    for ours in (score for score in scores if score.codec == "gi-model"):
        others = [score for score in scores if score.motion == ours.motion and score.codec != "gi-model"]
        assert ours.relative_l1 <= 0.05
        assert len(others) == 3
        assert all(ours.relative_l1 < other.relative_l1 for other in others)
