"""How a policy is computed changes nothing: compiled, in bf16, with activations computed again."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gi_model.checkpoint import save_policy
from gi_model.config import PolicyConfig
from gi_model.policy import Policy
from gi_model.policy_stepper import load_stepper
from gi_model.sampling import Draw
from gi_model.stepper import Sampling
from tests.model.factories import DEBUG, SPACE, make_policy, random_batch, random_frames

HYBRID = DEBUG.replace(
    encoder="hybrid", height=64, width=64, encoder_dim=64, encoder_layers=1, tokens_per_frame=2, past_actions="dropout"
)
VIT = DEBUG.replace(encoder="vit_tiny_patch16_224", height=32, width=32, past_actions="dropout")


def gradients(policy: Policy, loss: Tensor) -> dict[str, Tensor]:
    policy.zero_grad()
    torch.autograd.backward(loss)
    return {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("config", [DEBUG, HYBRID, VIT], ids=["stem", "hybrid", "vit"])
def test_computing_activations_again_gives_the_same_gradients(config: PolicyConfig) -> None:
    """Past actions are hidden at random: the second computation must not draw anew."""
    policy, batch = make_policy(config).train(), random_batch(2, 6, config)
    results = []
    for on in (False, True):
        policy.set_activation_checkpointing(on)
        torch.manual_seed(7)
        results.append(gradients(policy, policy(batch)[0]))
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_computing_activations_again_keeps_fewer() -> None:
    def kept(policy: Policy, on: bool) -> int:
        sizes: list[int] = []
        policy.set_activation_checkpointing(on)

        def count(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            policy(random_batch(2, 6, HYBRID))
        return sum(sizes)

    policy = make_policy(HYBRID).train()
    assert kept(policy, on=True) < 0.8 * kept(policy, on=False)


def test_shard_units_cover_the_blocks_of_backbone_and_encoder() -> None:
    assert [kind.__name__ for kind in make_policy(HYBRID).fsdp_units] == ["Block"]
    policy = make_policy(VIT)
    inside = {id(p) for module in policy.modules() if type(module) in policy.fsdp_units for p in module.parameters()}
    blocks = [*policy.backbone.blocks, *policy.encoder.units]
    assert inside == {id(parameter) for block in blocks for parameter in block.parameters()}


def assert_compiled_equals_eager(config: PolicyConfig, backend: str) -> None:
    policy, batch = make_policy(config).train(), random_batch(2, 6, config)
    batch.known[:, 4:] = False
    compiled = torch.compile(policy, backend=backend, fullgraph=True)
    results = []
    for model in (policy, compiled):
        torch.manual_seed(3)
        loss, logs = model(batch)
        results.append((loss.detach(), logs, gradients(policy, loss)))
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [DEBUG.replace(past_actions="dropout"), HYBRID], ids=["stem", "hybrid"])
def test_the_forward_pass_is_one_graph(config: PolicyConfig) -> None:
    """No break where Python would look at a tensor: `fullgraph` raises at one."""
    assert_compiled_equals_eager(config, "eager")


@pytest.mark.slow  # traces the backward pass: 20 s
def test_the_backward_pass_of_the_graph_is_the_same() -> None:
    assert_compiled_equals_eager(HYBRID, "aot_eager")


@pytest.mark.slow  # a minute of C++ compilation
def test_generated_code_computes_the_same() -> None:
    """Past actions whole: a compiler draws other random numbers."""
    assert_compiled_equals_eager(DEBUG, "inductor")


def test_a_step_is_one_graph_without_looks_at_the_tokens_and_plays_the_same() -> None:
    """What a CUDA graph needs: the eager step on a CPU looks at tokens to stop early, the compiled one must not."""
    policy, rule = make_policy(), Sampling(temperature=2.0, top_p=0.9, motion="sample")
    compiled = torch.compile(policy.step, backend="eager", fullgraph=True)
    states = [policy.empty_state(3) for _ in range(2)]
    slots = torch.tensor([2, 0])
    for tick in range(4):
        noise = torch.rand(2, SPACE.num_tokens, generator=torch.Generator().manual_seed(tick)).numpy()
        draws = Draw.of([rule] * 2, noise, torch.device("cpu"))
        frames = random_frames(2, seed=tick)
        played = [
            step(frames, state, slots=slots, rule=draws)
            for step, state in zip((policy.step, compiled), states, strict=True)
        ]
        assert (played[0][0] == played[1][0]).all()
        torch.testing.assert_close(played[1][1][:, :5], played[0][1][:, :5], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[0].caches[0].keys, states[1].caches[0].keys, atol=1e-5, rtol=1e-5)
    assert (states[0].ticks == states[1].ticks).all()


def test_autocast_to_bf16_is_near() -> None:
    policy, batch = make_policy(HYBRID).eval(), random_batch(2, 6, HYBRID)
    with torch.no_grad():
        exact, _ = policy(batch)
        with torch.autocast("cpu", torch.bfloat16):
            near, _ = policy(batch)
    assert float(near) == pytest.approx(float(exact), rel=0.02)
    assert float(near) != float(exact)


@pytest.mark.parametrize("config", [DEBUG, HYBRID, VIT], ids=["stem", "hybrid", "vit"])
def test_weights_and_caches_in_bf16_see_nearly_the_same(config: PolicyConfig) -> None:
    exact = make_policy(config)
    near = copy.deepcopy(exact).cast_weights(torch.bfloat16)
    assert near.backbone.rope.cos.dtype == torch.float32
    states, slots = (exact.empty_state(1), near.empty_state(1)), torch.tensor([0])
    assert states[1].caches[0].keys.dtype == torch.bfloat16
    frames = random_frames(12, config=config)
    with torch.inference_mode():
        for tick in range(12):
            seen = [
                p.step_features(frames[tick : tick + 1], s, slots) for p, s in zip((exact, near), states, strict=True)
            ]
            error = (seen[1].float() - seen[0]).norm() / seen[0].norm()
            assert 0 < float(error) < 0.05


def test_a_stepper_of_a_checkpoint_plays_in_bf16(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    save_policy(make_policy(), folder)
    exact, near = (load_stepper(folder, num_slots=1, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    frames = random_frames(8).permute(0, 2, 3, 1).numpy()
    agree = 0
    for tick in range(8):
        steps = [stepper.step(frames[tick : tick + 1], [0]) for stepper in (exact, near)]
        agree += int((steps[0].tokens[:, 0] == steps[1].tokens[:, 0]).sum())
        near.correct(0, steps[0].tokens[0])
        assert abs(steps[0].confidence - steps[1].confidence)[:, 0].max() < 0.1 or agree <= tick
    assert agree >= 6
