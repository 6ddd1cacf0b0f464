"""One adapter on one policy: `attach` until `detach`, or `merge` into its weights for good.

Attached by forward hooks, so that parameters keep their names and places. An adapter of another base is refused by
name: its updates would be noise there. Several adapters at once: `gi_model.adapter_bank`.
"""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gi_model.adapters import HEAD, Adapter
from gi_model.command_head import CommandHead, build_head
from gi_model.errors import BaseMismatchError, CheckpointError, ConfigError
from gi_model.lora import Adaptable, is_adaptable, lora_shapes, update_output, weight_update
from gi_model.policy import Policy


class Attached:
    """One adapter on one policy, and what it takes to be rid of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handles: list[RemovableHandle] = []
        self.originals: list[tuple[nn.Module, str, nn.Parameter]] = []


def attach(policy: Policy, adapter: Adapter) -> None:
    """Let `policy` compute with `adapter` until `detach`, in place.

    Raises ConfigError if one is attached, BaseMismatchError for an adapter of another base, CheckpointError if its
    tensors do not fit; then the policy is as it was. Attach after the policy is on its device and of its type.
    """
    if policy.attached is not None:
        do = "Detach it first, or load both into an AdapterBank."
        raise ConfigError("the policy has an adapter", got=policy.attached.name, expected="none", do=do)
    check_fit(policy, adapter)
    attached = Attached(adapter.config.name)
    for path in adapter.config.targets:
        module = policy.get_submodule(path)
        assert is_adaptable(module)
        attached.handles.append(module.register_forward_hook(_Update(*adapter.update(path, module.weight))))
    for path in adapter.config.replaced:
        module = policy.get_submodule(path)
        for name, tensor in adapter.parameters(path).items():
            original = module.get_parameter(name)
            attached.originals.append((module, name, original))
            setattr(module, name, nn.Parameter(tensor.to(original, copy=True), requires_grad=original.requires_grad))
    policy.attached, policy.command_head = attached, load_head(policy, adapter)
    policy.hides_past |= adapter.config.hides_past


def detach(policy: Policy) -> None:
    """Undo `attach`; nothing if there is no adapter."""
    attached, policy.attached = policy.attached, None
    if attached is None:
        return
    policy.command_head, policy.hides_past = None, policy.config.past_actions == "hidden"
    for handle in attached.handles:
        handle.remove()
    for module, name, original in reversed(attached.originals):
        setattr(module, name, original)


@torch.no_grad()
def merge(policy: Policy, adapter: Adapter) -> None:
    """Fold `adapter` into the weights of `policy`, in place and for good: it is another policy then.

    Raises what `attach` raises.
    """
    if policy.attached is not None:
        raise ConfigError("the policy has an adapter", got=policy.attached.name, do="Detach it first.")
    check_fit(policy, adapter)
    for path in adapter.config.targets:
        module = policy.get_submodule(path)
        assert is_adaptable(module)
        lora_a, lora_b = adapter.update(path, module.weight.float())
        module.weight.copy_(module.weight.float() + weight_update(lora_a, lora_b))
    for path in adapter.config.replaced:
        for name, tensor in adapter.parameters(path).items():
            policy.get_submodule(path).get_parameter(name).copy_(tensor)
    policy.command_head = load_head(policy, adapter)
    if adapter.config.hides_past:
        policy.hide_past()
    policy.name, policy.fingerprint = f"{adapter.config.base_name}+{adapter.config.name}", ""


class _Update:
    """A forward hook that adds an update to a module's output."""

    def __init__(self, lora_a: Tensor, lora_b: Tensor) -> None:
        self._lora_a, self._lora_b = lora_a, lora_b

    def __call__(self, module: Adaptable, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + update_output(module, inputs[0], self._lora_a, self._lora_b).to(output.dtype)


def load_head(policy: Policy, adapter: Adapter) -> CommandHead | None:
    """The command head of an adapter that fits, on the device and of the type of `policy`; None if it has none."""
    with torch.random.fork_rng(devices=()):  # its first weights are nobody's
        head = build_head(policy.config, adapter.config.embodiment)
    if head is None:
        return None
    head.load_state_dict(adapter.head)
    parameter = next(policy.parameters())
    for own in head.to(parameter.device).parameters():
        own.data = own.data.to(parameter.dtype)  # levels stay float32
    return head.requires_grad_(False).eval()


def check_fit(policy: Policy, adapter: Adapter) -> None:
    """Raise BaseMismatchError unless `policy` is the adapter's base, CheckpointError unless every tensor fits."""
    config = adapter.config
    if config.action_space != policy.space.fingerprint:
        got, expected = config.action_space[:12], policy.space.fingerprint[:12]
        raise BaseMismatchError(f"adapter {config.name} is of another action space", got=got, expected=expected)
    if config.base_fingerprint != policy.fingerprint:
        got, expected = (
            f"{name or 'unnamed'} ({fingerprint[:12] or 'never saved'})"
            for name, fingerprint in ((policy.name, policy.fingerprint), (config.base_name, config.base_fingerprint))
        )
        do = f"Load the checkpoint of {config.base_name} that it was trained on."
        raise BaseMismatchError(f"adapter {config.name} is of another base", got=got, expected=expected, do=do)
    shapes = {path: _shapes(policy, path, adapter) for path in (*config.targets, *config.replaced)}
    if config.has_head:
        shapes[HEAD.removesuffix(".")] = _head_shapes(policy, adapter)
    for path, expected_shapes in shapes.items():
        for name, shape in expected_shapes.items():
            _check_tensor(adapter, f"{path}.{name}", shape)


def _shapes(policy: Policy, path: str, adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """The tensors that the module at `path` needs."""
    what, config = f"adapter {adapter.config.name}: {path}", adapter.config
    try:
        module = policy.get_submodule(path)
    except AttributeError:
        raise CheckpointError(f"{what} is no module of {config.base_name or 'the policy'}") from None
    if path in config.targets:
        if not is_adaptable(module):
            expected = "a linear map, or a convolution of one group"
            raise CheckpointError(f"{what} takes no low-rank update", got=type(module).__name__, expected=expected)
        return dict(zip(("lora_A", "lora_B"), lora_shapes(module, config.rank), strict=True))
    if list(module.children()) or not list(module.parameters()):
        do = "Replace modules that hold parameters themselves and no other modules."
        raise CheckpointError(f"{what} cannot be replaced", got=type(module).__name__, do=do)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    if odd := set(shapes) ^ set(adapter.parameters(path)):
        raise CheckpointError(f"{what} has other parameters", got=sorted(odd), expected=sorted(shapes))
    return shapes


def _head_shapes(policy: Policy, adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """The tensors that the command head needs."""
    with torch.device("meta"):
        head = build_head(policy.config, adapter.config.embodiment)
    assert head is not None
    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}
    if odd := set(shapes) ^ set(adapter.head):
        what = f"adapter {adapter.config.name}: its command head has other parameters"
        raise CheckpointError(what, got=sorted(odd), expected=sorted(shapes))
    return shapes


def _check_tensor(adapter: Adapter, name: str, shape: tuple[int, ...]) -> None:
    if (got := tuple(adapter.tensors[name].shape)) != shape:
        raise CheckpointError(f"adapter {adapter.config.name}: {name} has another shape", got=got, expected=shape)
