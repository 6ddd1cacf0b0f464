"""`ServedAdapters`: the adapters of all models of a server: loaded from disk, found by name, unloaded after a goodbye.

An adapter belongs to the model whose weights it was trained on, and is found there by that model's fingerprint: nobody
has to say which, unless one checkpoint is served twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from gi_model.errors import BaseMismatchError, ConfigError, GiError
from gi_serve.engine import Engine
from gi_serve.model_loading import ModelLoader, ModelSpec
from gi_serve.problems import ADAPTER_INVALID, ADAPTER_UNKNOWN, BASE_MISMATCH, MODEL_UNKNOWN, REQUEST_INVALID, Problem

if TYPE_CHECKING:
    from gi_model.adapters import Adapter, AdapterConfig

logger = logging.getLogger("gi_serve")
Goodbye = Callable[[Engine, str], Awaitable[None]]  # tells the streams that play with an adapter, and lets them play on


class ServedAdapters:
    """Belongs to the event loop's thread. engines: by name of their model."""

    def __init__(self, engines: Mapping[str, Engine], loader: ModelLoader, goodbye: Goodbye) -> None:
        self._engines, self._loader, self._goodbye = engines, loader, goodbye
        self.unloading: set[asyncio.Task[None]] = set()

    def all(self) -> "list[tuple[Engine, AdapterConfig]]":
        """Every adapter and its engine."""
        return [(engine, config) for engine in self._engines.values() for config in engine.adapters.configs]

    def find(self, name: str, model: str | None = None) -> "tuple[Engine, AdapterConfig]":
        """The adapter `name`. Raises Problem if there is none, or one of each of several models."""
        found = [
            (engine, config)
            for engine, config in self.all()
            if config.name == name and model in (None, engine.stepper.name)
        ]
        if not found:
            names = ", ".join(sorted({config.name for _engine, config in self.all()}))
            raise Problem(ADAPTER_UNKNOWN, f"This server has: {names or 'none'}.")
        if len(found) > 1:
            models = ", ".join(engine.stepper.name for engine, _config in found)
            raise Problem(REQUEST_INVALID, f"Name a model: {models}.")
        return found[0]

    async def load(self, name: str, path: str, model: str | None = None) -> "tuple[Engine, AdapterConfig]":
        """Load the adapter at `path`, below --adapters-dir, as `name`. Raises Problem; all play on."""
        adapter = await asyncio.to_thread(self._loader.load_adapter_for_client, path)
        engine = self._base_of(adapter, model)
        try:
            config = await engine.adapters.add(adapter, name)
        except Problem:
            raise
        except BaseMismatchError as error:
            raise Problem(BASE_MISMATCH, f"{error}.") from error
        except GiError as error:
            raise Problem(ADAPTER_INVALID, f"{error.what}.") from error
        logger.info("%s serves the adapter %s, fingerprint %s", engine.stepper.name, name, config.fingerprint)
        return engine, config

    def _base_of(self, adapter: "Adapter", model: str | None) -> Engine:
        """The engine of the model that it was trained on; `model`, if that is named. Raises Problem."""
        if model is not None:
            if model not in self._engines:
                raise Problem(MODEL_UNKNOWN, f"This server has: {', '.join(self._engines) or 'none yet'}.")
            return self._engines[model]
        bases = self._bases_of(adapter)
        if not bases:
            config = adapter.config
            base = f"{config.base_name} ({config.base_fingerprint[:12]})"
            raise Problem(BASE_MISMATCH, f"It needs {base}; this server has: {self._describe_models()}.")
        if len(bases) > 1:
            raise Problem(REQUEST_INVALID, f"Name a model: {', '.join(each.stepper.name for each in bases)}.")
        return bases[0]

    def _bases_of(self, adapter: "Adapter") -> list[Engine]:
        return [each for each in self._engines.values() if each.stepper.fingerprint == adapter.config.base_fingerprint]

    def _describe_models(self) -> str:
        steppers = [engine.stepper for engine in self._engines.values()]
        return ", ".join(f"{each.name} ({each.fingerprint[:12]})" for each in steppers) or "none yet"

    def load_at_start(self, spec: ModelSpec) -> None:
        """Load an adapter, before the server runs, into every model that is its base. Raises GiError."""
        from gi_model.adapters import load_adapter

        adapter = load_adapter(spec.path)
        if not (bases := self._bases_of(adapter)):
            base = f"{adapter.config.base_name} ({adapter.config.base_fingerprint[:12]})"
            what = f"the adapter {adapter.config.name} is of another base"
            raise BaseMismatchError(what, got=self._describe_models(), expected=base, do="Serve its base, too.")
        for engine in bases:
            name = spec.name or adapter.config.name
            if name in engine.adapters:
                do = "Name them: gi serve MODEL --adapter NAME=PATH --adapter NAME2=PATH2"
                raise ConfigError("adapters need names of their own", got=name, expected="another name", do=do)
            engine.adapters.add_before_start(adapter, name)

    def unload(self, name: str, model: str | None = None) -> "tuple[Engine, AdapterConfig]":
        """Let its sessions know and play on for a while, then unload it. Raises Problem."""
        engine, config = self.find(name, model)
        if engine.adapters.let_go(name):
            task = asyncio.create_task(self._unload(engine, name))
            self.unloading.add(task)
            task.add_done_callback(self.unloading.discard)
        return engine, config

    async def _unload(self, engine: Engine, name: str) -> None:
        await self._goodbye(engine, name)
        await engine.adapters.remove(name)
        logger.info("%s unloaded the adapter %s", engine.stepper.name, name)
