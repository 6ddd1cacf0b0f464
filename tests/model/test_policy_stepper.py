"""Laws of a policy's streams: a copy answers as its source would have; what was answered, fed back, changes nothing."""

import numpy as np
from numpy.typing import NDArray

from gi_model.policy_stepper import PolicyStepper
from gi_model.stepper import Sampling
from tests.model.factories import DEBUG, SPACE, make_policy

NUM_TICKS = 2 * DEBUG.window_ticks + 3


def frames(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (NUM_TICKS, DEBUG.height, DEBUG.width, 3), dtype=np.uint8)


def test_a_copy_answers_as_its_source_would_have() -> None:
    stepper = PolicyStepper(make_policy(), num_slots=3)
    stepper.open(0, Sampling(seed=1, keys="sample", motion="sample"))
    stepper.open(2, Sampling(seed=9))
    seen, other = frames(1), frames(2)
    for tick in range(NUM_TICKS // 2):
        stepper.step(np.stack([other[tick], seen[tick]]), [2, 0])
    stepper.copy(0, 2)
    both = [stepper.step(np.stack([seen[tick], seen[tick]]), [0, 2]) for tick in range(NUM_TICKS // 2, NUM_TICKS)]
    for steps in both:
        np.testing.assert_array_equal(steps.tokens[0], steps.tokens[1])
        np.testing.assert_allclose(steps.confidence[0], steps.confidence[1], atol=1e-6)
    stepper.step(other[:1], [2])  # and goes its own way from there on
    alone = PolicyStepper(make_policy(), num_slots=1)
    alone.open(0, Sampling(seed=1, keys="sample", motion="sample"))
    expected = [alone.step(frame[None], [0]).tokens for frame in (*seen, seen[0])][-1]
    np.testing.assert_array_equal(stepper.step(seen[:1], [0]).tokens, expected)


def test_feeding_back_what_was_answered_changes_nothing_and_anything_else_does() -> None:
    def play(held: NDArray[np.int64] | None, *, feeds: bool) -> NDArray[np.float32]:
        stepper = PolicyStepper(make_policy(), num_slots=2)
        stepper.open(1, Sampling(seed=3))
        confidences = []
        for frame in frames(5):
            steps = stepper.step(frame[None], [1])
            if feeds:
                stepper.correct(1, steps.tokens[0] if held is None else held)
            confidences.append(steps.confidence)
        return np.concatenate(confidences)

    plain = play(None, feeds=False)
    np.testing.assert_array_equal(play(None, feeds=True), plain)
    held = np.full(SPACE.num_tokens, SPACE.gamepad_id)
    corrected = play(held, feeds=True)
    np.testing.assert_array_equal(corrected[0], plain[0])  # a correction cannot change its own tick
    assert not np.allclose(corrected[1], plain[1])
