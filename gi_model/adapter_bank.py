"""`AdapterBank`: several adapters over one policy, each row of a batch with its own, or with none.

Adapted modules get hooks. Updates of all adapters lie in one stack a module, the base's place zero. On a GPU, which
must not be waited for, they are gathered by row and replaced modules run over all rows, so no shape depends on who
plays with what, and one CUDA graph serves any mix; on a CPU groups of rows go one after another, as long as they are
few. Without adapters there are no hooks; a batch of base rows alone passes by those there are. Rejected: a policy for
each adapter (the base's weights and a step for each), punica's kernels (a dependency for two small products).

B rows, C places in a stack, r rank.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gi_model.adapters import Adapter, AdapterConfig
from gi_model.attachment import check_fit, load_head
from gi_model.command_head import CommandHead
from gi_model.errors import ConfigError
from gi_model.lora import Adaptable, is_adaptable, update_output, update_rows
from gi_model.policy import Policy

FIRST_CAPACITY: Final = 8  # places a stack, the base's included; doubled when they are taken
FEW_GROUPS: Final = 4  # adapters in a batch, up to which a CPU is quicker with one after another


@dataclass
class Rows:
    """Who plays with what in the step that runs. ids: int64 (B,), places in the bank, 0 the base; None: all the base.

    groups: the rows of each adapter, known where looking at `ids` is free; else None. updates: A and B of the rows by
    the id of their hook, gathered once though a decoder's modules are called for every token.
    """

    ids: Tensor | None = None
    groups: dict[int, Tensor] | None = None
    updates: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass
class _Updates:
    """The hook of one module with low-rank updates: stacks A (C, r, ...) and B (C, out, r, ...)."""

    rows: Rows
    lora_a: Tensor
    lora_b: Tensor
    handle: RemovableHandle | None = None
    taken: set[int] = field(default_factory=set)

    def __call__(self, module: Adaptable, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        if (ids := self.rows.ids) is None:
            return None
        if self.rows.groups is not None and len(self.rows.groups) <= FEW_GROUPS:
            return self._add_by_group(module, inputs[0], output, self.rows.groups)
        if (own := self.rows.updates.get(id(self))) is None:
            own = self.rows.updates[id(self)] = self.lora_a.index_select(0, ids), self.lora_b.index_select(0, ids)
        return output + update_rows(module, inputs[0], lora_a=own[0], lora_b=own[1])

    def _add_by_group(self, module: Adaptable, x: Tensor, output: Tensor, groups: Mapping[int, Tensor]) -> Tensor:
        """Two products a group: to gather A and B for each row would move more bytes than they take."""
        for place, rows in groups.items():
            if place in self.taken:
                own = update_output(module, x.index_select(0, rows), self.lora_a[place], self.lora_b[place])
                output.index_add_(0, rows, own)
        return output

    def make_room(self, capacity: int, rank: int) -> bool:
        """Let the stacks have `capacity` places of `rank` at least; whether they had to move for it."""
        size = max(capacity, self.lora_a.shape[0]), max(rank, self.lora_a.shape[1])
        if size == self.lora_a.shape[:2]:
            return False
        old_a, old_b = self.lora_a, self.lora_b
        lora_a = old_a.new_zeros(*size, *old_a.shape[2:])
        lora_b = old_b.new_zeros(size[0], old_b.shape[1], size[1], *old_b.shape[3:])
        lora_a[: old_a.shape[0], : old_a.shape[1]] = old_a
        lora_b[: old_b.shape[0], :, : old_b.shape[2]] = old_b
        self.lora_a, self.lora_b = lora_a, lora_b  # both or none: memory may run out in between
        return True

    def put(self, place: int, lora_a: Tensor, lora_b: Tensor) -> None:
        """Write an adapter's update, into a place that is zero."""
        self.taken.add(place)
        self.lora_a[place, : lora_a.shape[0]], self.lora_b[place, :, : lora_b.shape[1]] = lora_a, lora_b

    def drop(self, place: int) -> bool:
        """Make the place zero again, if it is taken; whether none is now."""
        if place in self.taken:
            self.lora_a[place], self.lora_b[place] = 0, 0
            self.taken.remove(place)
        return not self.taken

    def remove(self) -> None:
        """Leave the module."""
        assert self.handle is not None
        self.handle.remove()


@dataclass
class _Replacements:
    """The hooks of one module that adapters replace: by place, a copy of it with the adapter's parameters.

    Where groups are known the module itself sees only the rows that are not replaced, `kept`, of its input `whole`.
    """

    rows: Rows
    handle: RemovableHandle | None = None
    handle_before: RemovableHandle | None = None
    taken: dict[int, nn.Module] = field(default_factory=dict)
    whole: Tensor | None = None
    kept: Tensor | None = None

    def before(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Leave out the rows that are replaced, unless updates, which need all of them, hook the module as well."""
        self.whole = self.kept = None
        ids, groups = self.rows.ids, self.rows.groups or {}
        if ids is None or not self.taken.keys() & groups.keys() or len(module._forward_hooks) > 1:
            return None
        self.whole, self.kept = inputs[0], (~torch.isin(ids, torch.tensor(list(self.taken)))).nonzero().squeeze(1)
        return (inputs[0].index_select(0, self.kept),)

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        if self.rows.ids is None:
            return None
        x = inputs[0]
        if self.whole is not None and self.kept is not None:
            x, kept = self.whole, output
            output = kept.new_empty(len(x), *kept.shape[1:]).index_copy_(0, self.kept, kept)
        for place, own in self.taken.items():
            output = self._let(own, place, x, output)
        return output

    def _let(self, own: nn.Module, place: int, x: Tensor, output: Tensor) -> Tensor:
        assert self.rows.ids is not None
        if self.rows.groups is None:
            is_own = (self.rows.ids == place).view(-1, *(1 for _ in output.shape[1:]))
            return torch.where(is_own, own.forward(x), output)
        if (rows := self.rows.groups.get(place)) is not None:
            output.index_copy_(0, rows, own.forward(x.index_select(0, rows)))
        return output

    def drop(self, place: int) -> bool:
        """Forget an adapter's module; whether none is left."""
        self.taken.pop(place, None)
        return not self.taken

    def remove(self) -> None:
        """Leave the module."""
        for handle in (self.handle, self.handle_before):
            assert handle is not None
            handle.remove()


class AdapterBank:
    """Adapters of one policy by name. Belongs to whoever steps the policy, between steps."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._rows, self._capacity = policy, Rows(), FIRST_CAPACITY
        self._configs: dict[str, AdapterConfig] = {}
        self._places: dict[str, int] = {}
        self._updates: dict[str, _Updates] = {}  # by path of their module
        self._replacements: dict[str, _Replacements] = {}
        self._heads: dict[str, CommandHead] = {}

    @property
    def configs(self) -> Mapping[str, AdapterConfig]:
        """What is loaded."""
        return self._configs

    def place_of(self, name: str | None) -> int:
        """The row that `name` has in every stack; 0 for None, the base. Raises ConfigError on an unknown name."""
        if name is None:
            return 0
        if name not in self._places:
            raise ConfigError("unknown adapter", got=name, expected=" | ".join(self._places) or "none is loaded")
        return self._places[name]

    def head_of(self, name: str | None) -> CommandHead | None:
        """What commands the direct actuators of a body; None where `name` has none, or is None, the base."""
        return None if name is None else self._heads.get(name)

    def add(self, adapter: Adapter, name: str | None = None) -> bool:
        """Load `adapter`, as `name` if it is not to have its own; whether tensors moved that a CUDA graph may hold.

        Raises ConfigError if the name is taken or the policy has an adapter attached, BaseMismatchError or
        CheckpointError if it does not fit the policy, and then nothing moved. Whatever else fails half-way, as memory
        does, leaves none of the adapter behind, but tensors may have moved.
        """
        name = name or adapter.config.name
        if self._policy.attached is not None:
            raise ConfigError("the policy has an adapter", got=self._policy.attached.name, do="Detach it first.")
        if name in self._places:
            raise ConfigError("an adapter of that name is loaded", got=name, expected="another name")
        config = replace(adapter.config, name=name)
        check_fit(self._policy, adapter)
        place = next(free for free in range(1, len(self._places) + 2) if free not in self._places.values())
        try:
            moved = [self._make_room(place)]
            moved += [self._add_update(path, place, adapter) for path in adapter.config.targets]
            moved += [self._add_replacement(path, place, adapter) for path in adapter.config.replaced]
            head = load_head(self._policy, adapter)
        except BaseException:
            self._clear(place)
            raise
        self._places[name], self._configs[name] = place, config
        if head is not None:
            self._heads[name] = head
        return any(moved)

    def remove(self, name: str) -> bool:
        """Unload `name`; whether tensors went that a CUDA graph may hold. Raises ConfigError on an unknown name."""
        place, config = self.place_of(name), self._configs[name]
        del self._places[name], self._configs[name]
        self._heads.pop(name, None)
        return self._clear(place) or bool(config.replaced)

    @contextmanager
    def playing(self, ids: Tensor | None) -> Iterator[None]:
        """Let the policy compute row i of a batch with the adapter in place `ids[i]`, int64 (B,), meanwhile."""
        if ids is not None:
            self._rows.ids, self._rows.groups = ids, None if ids.is_cuda else _groups_of(ids)
        try:
            yield
        finally:
            self._rows.ids = self._rows.groups = None
            self._rows.updates.clear()

    def _clear(self, place: int) -> bool:
        """Leave nothing in `place`; whether some hook lost its last."""
        is_last = [self._drop(hooks, place) for hooks in (self._updates, self._replacements)]
        return any(is_last)

    @staticmethod
    def _drop(hooks: "dict[str, _Updates] | dict[str, _Replacements]", place: int) -> bool:
        """Take what is in `place` out of `hooks`; whether some hook lost its last."""
        unused = [path for path, hook in hooks.items() if hook.drop(place)]
        for path in unused:
            hooks.pop(path).remove()
        return bool(unused)

    def _make_room(self, place: int) -> bool:
        """Every stack has every place, also that of an adapter which leaves its module alone."""
        if place < self._capacity:
            return False
        capacity = 2 * self._capacity
        for updates in self._updates.values():
            updates.make_room(capacity, 1)
        self._capacity = capacity
        return bool(self._updates)

    def _add_update(self, path: str, place: int, adapter: Adapter) -> bool:
        module = self._policy.get_submodule(path)
        assert is_adaptable(module)
        lora_a, lora_b = adapter.update(path, module.weight)
        hook = self._updates.get(path)
        if is_new := hook is None:
            stack_a, stack_b = (half.new_zeros(self._capacity, *half.shape) for half in (lora_a, lora_b))
            hook = self._updates[path] = _Updates(self._rows, stack_a, stack_b)
            hook.handle = module.register_forward_hook(hook)
        moved = hook.make_room(self._capacity, adapter.config.rank)
        hook.put(place, lora_a, lora_b)
        return moved or is_new

    def _add_replacement(self, path: str, place: int, adapter: Adapter) -> bool:
        module = self._policy.get_submodule(path)
        if (hook := self._replacements.get(path)) is None:
            hook = self._replacements[path] = _Replacements(self._rows)
            hook.handle = module.register_forward_hook(hook)
            hook.handle_before = module.register_forward_pre_hook(hook.before)
        own = hook.taken[place] = copy.copy(module)
        own._parameters = module._parameters | {  # a bias that is None stays one
            name: nn.Parameter(tensor.to(module.get_parameter(name), copy=True), requires_grad=False)
            for name, tensor in adapter.parameters(path).items()
        }
        return True


def _groups_of(ids: Tensor) -> dict[int, Tensor]:
    """Rows of each adapter but the base."""
    return {place: (ids == place).nonzero().squeeze(1) for place in set(ids.tolist()) - {0}}
