"""Laws of many adapters at once: a mixed batch equals each row alone, and a base row beside others the base alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.adapter_bank import FIRST_CAPACITY
from gi_model.adapters import Adapter
from gi_model.attachment import attach
from gi_model.config import PolicyConfig
from gi_model.errors import BaseMismatchError, ConfigError
from gi_model.graphed_step import GraphedStep
from gi_model.policy import Policy
from gi_model.policy_stepper import PolicyStepper
from gi_model.sampling import Draw
from gi_model.stepper import Sampling, Steps
from tests.model.adapter_factory import LINEAR, REPLACED, TARGETS, make_adapter
from tests.model.factories import DEBUG, SPACE, make_policy, random_frames
from tests.model.test_attachment import HYBRID, HYBRID_TARGETS, TWO_POLICIES
from tests.model.test_graphed_step import RecordedCapture

NUM_TICKS = DEBUG.window_ticks + 3


def some_adapters(policy: Policy, targets: tuple[str, ...] = TARGETS) -> dict[str, Adapter]:
    """Of different ranks and modules, one only with updates, one only with replaced modules."""
    return {
        "full": make_adapter(policy, 1, targets=targets),
        "updates": make_adapter(policy, 2, targets=targets[:3], replaced=(), rank=5, alpha=5.0, past_actions="hidden"),
        "replaced": make_adapter(policy, 3, targets=(), replaced=REPLACED),
        "stem": make_adapter(policy, 4, targets=(), replaced=("encoder.convs.0", "encoder.convs.2", targets[0])),
    }


def frames(seed: int, config: PolicyConfig = DEBUG) -> NDArray[np.uint8]:
    return random_frames(NUM_TICKS, config=config, seed=seed).permute(0, 2, 3, 1).numpy()


def make_stepper(config: PolicyConfig = DEBUG, targets: tuple[str, ...] = TARGETS) -> PolicyStepper:
    stepper = PolicyStepper(make_policy(config), num_slots=8)
    for name, adapter in some_adapters(stepper.policy, targets).items():
        stepper.add_adapter(adapter, name)
    return stepper


def play_together(stepper: PolicyStepper, names: Sequence[str | None]) -> list[Steps]:
    """Each row with its own frames, seed, and adapter."""
    for slot, name in enumerate(names):
        stepper.open(slot, Sampling(seed=slot), name)
    seen = np.stack([frames(slot, stepper.policy.config) for slot in range(len(names))], axis=1)
    return [stepper.step(tick, range(len(names))) for tick in seen]


def play_alone(policy: Policy, row: int) -> list[Steps]:
    stepper = PolicyStepper(policy, num_slots=1)
    stepper.open(0, Sampling(seed=row))
    return [stepper.step(frame[None], [0]) for frame in frames(row, policy.config)]


def assert_row(together: list[Steps], row: int, alone: list[Steps]) -> None:
    for both, one in zip(together, alone, strict=True):
        np.testing.assert_array_equal(both.tokens[row], one.tokens[0])
        np.testing.assert_allclose(both.confidence[row], one.confidence[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("crowd", [[None], ["stem"], ["stem", "again", "stem"]])
@pytest.mark.parametrize(("config", "targets"), TWO_POLICIES)
def test_a_mixed_batch_plays_what_each_row_plays_alone(
    config: PolicyConfig, targets: tuple[str, ...], crowd: list[str | None]
) -> None:
    """Few adapters in a batch and many are computed in different ways."""
    names = ["full", None, "updates", "full", "replaced", *crowd]
    stepper = make_stepper(config, targets)
    stepper.add_adapter(some_adapters(stepper.policy, targets)["full"], "again")
    together = play_together(stepper, names)
    plays = []
    for row, name in enumerate(names):
        policy = make_policy(config)
        if name is not None:
            attach(policy, some_adapters(policy, targets)["full" if name == "again" else name])
        plays.append(play_alone(policy, row))
        assert_row(together, row, plays[row])
    base = play_alone(make_policy(config), 0)
    assert any((one.tokens != other.tokens).any() for one, other in zip(base, plays[0], strict=True))


def test_without_adapters_there_is_no_hook_and_base_rows_pass_by_those_there_are() -> None:
    stepper = make_stepper()
    base = play_together(stepper, [None, None])
    for name in list(stepper.adapters):
        stepper.remove_adapter(name)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stepper.policy.modules())
    plain = play_together(stepper, [None, None])
    for one, other in zip(base, plain, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)


def test_adapters_come_and_go_while_others_play() -> None:
    """More than the first stacks hold, of a higher rank each time, and a place is used again, clean."""
    stepper, policy = make_stepper(), make_policy()
    expected = play_together(make_stepper(), ["full", None])
    for slot, name in enumerate(["full", None]):
        stepper.open(slot, Sampling(seed=slot), name)
    seen = np.stack([frames(0), frames(1)], axis=1)
    for tick, frame in enumerate(seen):
        if tick == 2:
            stepper.remove_adapter("updates")
        for extra in range(2):
            more = make_adapter(policy, tick, rank=4 + tick, targets=LINEAR[extra:], replaced=REPLACED[:extra])
            stepper.add_adapter(more, f"extra-{tick}-{extra}")
        steps = stepper.step(frame, [0, 1])
        np.testing.assert_array_equal(steps.tokens, expected[tick].tokens)
        np.testing.assert_allclose(steps.confidence, expected[tick].confidence, rtol=1e-3, atol=1e-5)
    assert len(stepper.adapters) > FIRST_CAPACITY
    last = make_adapter(policy, NUM_TICKS - 1, rank=4 + NUM_TICKS - 1, targets=LINEAR[1:], replaced=REPLACED[:1])
    attach(policy, last)
    assert_row(play_together(stepper, [f"extra-{NUM_TICKS - 1}-1"]), 0, play_alone(policy, 0))


def test_a_copy_plays_with_its_sources_adapter() -> None:
    stepper = make_stepper()
    stepper.open(0, Sampling(seed=3), "full")
    stepper.open(1, Sampling(seed=9), "updates")
    stepper.step(frames(1)[:2], [0, 1])
    stepper.copy(0, 1)
    frame = frames(2)[:1]
    both = stepper.step(np.concatenate([frame, frame]), [0, 1])
    np.testing.assert_array_equal(both.tokens[0], both.tokens[1])


def test_what_is_unknown_taken_or_foreign_is_refused_and_changes_nothing() -> None:
    stepper = make_stepper()
    before = play_together(stepper, ["full", None])
    with pytest.raises(ConfigError, match=r"unknown adapter; got rover; expected full \| updates"):
        stepper.open(0, Sampling(), "rover")
    with pytest.raises(ConfigError, match="unknown adapter"):
        stepper.remove_adapter("rover")
    with pytest.raises(ConfigError, match="that name is loaded; got full"):
        stepper.add_adapter(make_adapter(stepper.policy), "full")
    with pytest.raises(ConfigError, match=r"adapter: name; got \.\./x"):
        stepper.add_adapter(make_adapter(stepper.policy), "../x")
    with pytest.raises(BaseMismatchError, match="another base"):
        stepper.add_adapter(make_adapter(stepper.policy, base_fingerprint="f" * 64))
    with pytest.raises(ConfigError, match="calibrated without adapters"):
        stepper.open(0, Sampling(keys="calibrated"), "full")
    assert list(stepper.adapters) == ["full", "updates", "replaced", "stem"]
    after = play_together(stepper, ["full", None])
    assert all((one.tokens == other.tokens).all() for one, other in zip(before, after, strict=True))


class NoMemoryError(RuntimeError):
    """Stands in for a GPU whose memory is full."""


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """Let the `call`-th call of `owner`'s `name` run out of memory, and those before it do their work."""
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def run_out(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise NoMemoryError
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, run_out)


@pytest.mark.parametrize("num_loaded", [1, FIRST_CAPACITY - 1], ids=["with room", "with full stacks"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(Tensor, "new_zeros", 2), (Tensor, "new_zeros", 7), (Adapter, "update", 2), (Adapter, "parameters", 5)],
)
def test_an_adapter_that_fails_half_way_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, num_loaded: int, owner: object, name: str, call: int
) -> None:
    """Memory runs out between two tensors of one stack, of two modules, or of two copies; all play on right."""
    stepper, policy = PolicyStepper(make_policy(), num_slots=3), make_policy()
    for seed in range(num_loaded):
        stepper.add_adapter(make_adapter(policy, seed, targets=LINEAR[:2], replaced=()), f"loaded-{seed}")
    before = play_together(stepper, ["loaded-0", None])
    fail_at(monkeypatch, owner, name, call)
    with pytest.raises(NoMemoryError):
        stepper.add_adapter(make_adapter(policy, 99, rank=5), "too-much")
    monkeypatch.undo()
    assert len(stepper.adapters) == num_loaded
    hooked = {path for path, module in stepper.policy.named_modules() if module._forward_hooks}
    assert hooked == set(LINEAR[:2])
    following = make_adapter(policy, 100, targets=LINEAR[1:3], replaced=())  # takes the place, and leaves modules alone
    stepper.add_adapter(following, "following")
    after = play_together(stepper, ["loaded-0", None, "following"])
    for row in range(2):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one.tokens[row], other.tokens[row])
    attach(policy, following)
    assert_row(after, 2, play_alone(policy, 2))


def test_a_stream_whose_adapter_is_gone_is_not_stepped_as_something_else() -> None:
    stepper = make_stepper()
    stepper.open(0, Sampling(), "full")
    stepper.open(1, Sampling())
    stepper.remove_adapter("full")
    with pytest.raises(ConfigError, match="unknown adapter; got full"):
        stepper.step(frames(0)[:2], [1, 0])
    stepper.step(frames(0)[:1], [1])


def test_graphs_serve_any_mix_and_are_captured_anew_only_where_tensors_moved() -> None:
    stepper, capture = make_stepper(), RecordedCapture()
    state = stepper.policy.empty_state(5)
    graphed = GraphedStep(stepper.policy, state, bank=stepper._bank, capture=capture)
    stepper._graphed, stepper._state = graphed, state

    def check(names: list[str | None]) -> None:
        plays = play_together(stepper, names)
        for each, expected in zip(plays, play_together(eager, names), strict=True):
            np.testing.assert_array_equal(each.tokens, expected.tokens)

    eager = make_stepper()
    check(["full", None, "updates"])
    check([None, "replaced", "full", "updates"])
    assert capture.num_captures == 1  # four rows, with adapters
    check([None, None, None])
    assert capture.num_captures == 2
    for each in (stepper, eager):  # fits the stacks there are: nothing moves
        each.add_adapter(make_adapter(each.policy, 7, targets=TARGETS[:2], replaced=()), "more")
    check(["more", None, "full"])
    assert capture.num_captures == 2
    for each in (stepper, eager):
        each.remove_adapter("replaced")
    check(["more", None, "full"])
    assert capture.num_captures == 3
    check([None, None, None])
    assert capture.num_captures == 3  # the base's graph stood


def test_graphs_are_captured_anew_after_a_failure_half_way_and_stand_after_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stepper, capture = make_stepper(), RecordedCapture()
    state = stepper.policy.empty_state(3)
    stepper._graphed = GraphedStep(stepper.policy, state, bank=stepper._bank, capture=capture)
    stepper._state = state
    play_together(stepper, ["full", None])
    with pytest.raises(ConfigError, match="that name is loaded"):
        stepper.add_adapter(make_adapter(stepper.policy), "full")
    play_together(stepper, ["full", None])
    assert capture.num_captures == 1
    fail_at(monkeypatch, Adapter, "update", 2)
    with pytest.raises(NoMemoryError):
        stepper.add_adapter(make_adapter(stepper.policy, 7, rank=6), "too-much")  # the first module's stacks moved
    play_together(stepper, ["full", None])
    assert capture.num_captures == 2


def test_a_policy_that_cannot_take_another_adapter_says_so() -> None:
    attached, fused = (PolicyStepper(make_policy(), num_slots=2) for _ in range(2))
    adapter = make_adapter(attached.policy)
    attach(attached.policy, adapter)
    with pytest.raises(ConfigError, match="the policy has an adapter; got rover"):
        attached.add_adapter(adapter)
    state, capture = fused.policy.empty_state(3), RecordedCapture()
    fused._graphed = GraphedStep(fused.policy, state, bank=fused._bank, fuse=True, capture=capture)
    with pytest.raises(ConfigError, match="a fused step takes no adapters"):
        fused.add_adapter(adapter)


def test_rows_are_selected_without_a_look_at_them_where_that_would_wait() -> None:
    """What a GPU computes: replaced modules over all rows, chosen by `where`. The same, up to rounding."""
    stepper = make_stepper(HYBRID, HYBRID_TARGETS)
    bank, slots = stepper._bank, torch.arange(4)
    ids = torch.tensor([bank.place_of(name) for name in ("replaced", "stem", "full", "updates")])
    rule = Draw.of([Sampling()] * 4, np.full((4, SPACE.num_tokens), 0.5, np.float32), torch.device("cpu"))
    images, outputs = random_frames(4, config=HYBRID), []
    for by_group in (True, False):
        with bank.playing(ids):
            bank._rows.groups = bank._rows.groups if by_group else None
            outputs.append(stepper.policy.step(images, stepper.policy.empty_state(4), slots=slots, rule=rule)[:2])
    (tokens, probs), (tokens_too, probs_too) = outputs
    assert torch.equal(tokens, tokens_too)
    torch.testing.assert_close(probs, probs_too, rtol=1e-3, atol=1e-5)
