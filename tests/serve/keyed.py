"""A server that asks for keys, and its keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gi_model.stepper import Stepper
from gi_serve.access import Access
from gi_serve.keys import make_key, write_keys
from gi_serve.limits import Limits
from gi_serve.model_loading import ModelLoader
from gi_serve.service import ServiceConfig
from tests.serve.serving import Running, serving


@dataclass
class Keyed:
    """A running server; `keys`: the text of each key by name."""

    running: Running
    path: Path
    keys: dict[str, str] = field(default_factory=dict)

    def http(self, name: str = "", **headers: str) -> httpx.Client:
        """A client with the key `name`, or none."""
        if name:
            headers["Authorization"] = f"Bearer {self.keys[name]}"
        return httpx.Client(base_url=self.running.url, headers=headers, trust_env=False, timeout=20)


KEYS: dict[str, Any] = {"alice": ["play"], "bob": ["play"], "scraper": ["metrics"], "root": ["play", "admin"]}


@contextmanager
def serving_with_keys(
    folder: Path,
    *steppers: Stepper,
    limits: Limits | None = None,
    loader: ModelLoader | None = None,
    config: ServiceConfig | None = None,
) -> Iterator[Keyed]:
    """Serve `steppers` to alice, bob, a scraper, and root."""
    path, made = folder / "keys.json", {name: make_key(name, scopes) for name, scopes in KEYS.items()}
    write_keys(path, [key for key, _secret in made.values()])
    access = Access(path, limits=limits)
    with serving(*steppers, access=access, loader=loader, config=config) as running:
        yield Keyed(running, path, {name: secret for name, (_key, secret) in made.items()})
