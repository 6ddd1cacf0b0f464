"""`gi keys`: make, list, and revoke the API keys of a server."""

from pathlib import Path
from typing import Annotated

import typer

KeysFile = Annotated[Path, typer.Option("--file", help="What `gi serve --keys` reads; a running server notices.")]
DEFAULT_FILE = Path("keys.json")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of a server: made, listed, revoked.")


@keys_app.command("new")
def new_key_command(
    name: Annotated[str, typer.Argument(help="Whose key it is; appears in logs.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="play, metrics, watch, or admin; repeat for more than one. Default: play.")
    ] = None,
    file: KeysFile = DEFAULT_FILE,
    max_sessions: Annotated[int | None, typer.Option(help="At a time; default: as the server says.", min=1)] = None,
) -> None:
    """Make a key and print it, once: the file keeps only its hash."""
    from gi_model.errors import ConfigError
    from gi_serve.keys import make_key, read_keys, write_keys

    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise ConfigError("a key of that name exists", got=name, do=f"Choose another, or: gi keys revoke {name}")
    key, secret = make_key(name, dict.fromkeys(scope or ["play"]), max_sessions=max_sessions)
    write_keys(file, [*keys, key])
    typer.echo(secret)


@keys_app.command("list")
def list_keys_command(file: KeysFile = DEFAULT_FILE) -> None:
    """Show whose keys there are, and what they may do."""
    from rich.console import Console
    from rich.table import Table

    from gi_serve.keys import read_keys

    table = Table("id", "name", "scopes", "sessions", "made")
    for key in read_keys(file):
        table.add_row(key.id, key.name, " ".join(key.scopes), f"{key.max_sessions or ''}", key.created)
    Console().print(table)


@keys_app.command("revoke")
def revoke_key_command(name: str, file: KeysFile = DEFAULT_FILE) -> None:
    """Take a key away: its sessions end within a second, its tokens too."""
    from gi_model.errors import ConfigError
    from gi_serve.keys import read_keys, write_keys

    keys = read_keys(file)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise ConfigError("no key of that name", got=name, expected=[key.name for key in keys])
    write_keys(file, left)
    typer.echo(f"revoked {name}")
