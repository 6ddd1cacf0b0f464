"""`Url`: a file or folder anywhere that fsspec reaches (s3://, gs://, http://, memory://), for reading, like a `Path`.

Whatever may pass is tried again, each time after a longer pause; what will not (missing, forbidden, no such protocol)
is an error at once. Rejected: universal-pathlib, whose `resolve` asks the network and whose reads are not tried again.
Importing this imports no fsspec.
"""

import posixpath
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeGuard, TypeVar

from gi_model.errors import CorpusError

Result = TypeVar("Result")
PAUSES_S = (0.1, 0.5, 2.0, 8.0)  # before each further try, give or take a half
_CONNECT_S, _SILENCE_S = 10, 30  # how long an HTTP server may take to answer, and to send the next byte
_PASSING_STATUS = {408, 425, 429}  # of those below 500
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, ValueError)


def _ignore() -> None:
    """Do nothing on a retry."""


@dataclass(frozen=True)
class Url:
    """PROTOCOL://HOST/PATH; `url / name` goes below it, or beside it with "..", never to another host."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Self:
        protocol, _, rest = self.text.partition("://")
        host, _, path = rest.partition("/")
        return type(self)(f"{protocol}://{host}/{posixpath.normpath(f'/{path}/{name}').lstrip('/')}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Self:
        """The folder it is in."""
        return self / ".."

    def exists(self) -> bool:
        """Whether there is something to read. Raises CorpusError if nobody can say."""
        return self.is_file()

    def is_file(self) -> bool:
        """Whether there is something to read. Raises CorpusError if nobody can say."""
        return self._try(lambda system, path: system.info(path), _ignore) is not None

    def read_bytes(self) -> bytes:
        """The whole content. Raises FileNotFoundError as a path does, CorpusError if it cannot be read."""
        content = self._try(lambda system, path: bytes(system.cat_file(path)), _ignore)
        if content is None:
            raise FileNotFoundError(f"{self} is missing")
        return content

    def num_bytes(self) -> int | None:
        """Its size, None where the server does not say. Raises CorpusError, also if it is missing."""
        size = self._need(lambda system, path: system.info(path), _ignore).get("size")
        return None if size is None else int(size)

    def read_range(self, offset: int, size: int, on_retry: Callable[[], None] = _ignore) -> bytes:
        """Read `size` bytes at `offset`; fewer where it ends early. `on_retry` hears of each. Raises CorpusError."""
        content: bytes = self._need(lambda system, path: _cat(system, path, offset, size), on_retry)
        if len(content) > size:
            do = "Serve the corpus with byte ranges (nginx, S3, ...; not python -m http.server), or copy it here."
            raise CorpusError(f"{self} is served whole only", got=f"{len(content)} bytes", expected=size, do=do)
        return content

    def _need(self, call: Callable[[Any, str], Result], on_retry: Callable[[], None]) -> Result:
        result = self._try(call, on_retry)
        if result is None:
            raise CorpusError(f"{self} is missing", do="Check the URL, or upload what it names again.")
        return result

    def _try(self, call: Callable[[Any, str], Result], on_retry: Callable[[], None]) -> Result | None:
        """What `call` returns, None if the file is missing. Raises CorpusError after the last try."""
        for pause_s in (*PAUSES_S, None):
            try:
                return call(*self._open())
            except Exception as error:  # aiohttp's and the object stores' own errors share no base class
                if pause_s is not None and not _is_lasting(error):
                    on_retry()
                    time.sleep(pause_s * random.uniform(0.5, 1.5))
                    continue
                if _is_lasting(error) and _is_missing(error):
                    return None
                raise self._error(error) from error
        raise AssertionError("the last try returns or raises")

    def _open(self) -> tuple[Any, str]:
        """The file system and the path in it; fsspec keeps one file system for all of the same protocol."""
        import fsspec

        options: dict[str, Any] = {}
        if self.text.startswith("http"):
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {
                "timeout": ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
            }
        system, path = fsspec.url_to_fs(self.text, **options)
        return system, path

    def _error(self, error: Exception) -> CorpusError:
        got = f"{type(error).__name__}: {error}"[:200]
        if isinstance(error, ImportError):
            return CorpusError(f"{self} needs another package", got=got, do="pip install it (s3fs, gcsfs, adlfs, ...).")
        do = "Check address and permissions." if _is_lasting(error) else "Check the network, then run it again."
        tries = 1 if _is_lasting(error) else 1 + len(PAUSES_S)
        return CorpusError(f"{self} cannot be read", got=f"{got} (tries: {tries})", do=do)


def _cat(system: Any, path: str, offset: int, size: int) -> bytes:
    try:
        return bytes(system.cat_file(path, start=offset, end=offset + size)) if size else b""
    except Exception as error:
        if getattr(error, "status", None) == 416:  # behind the end
            return b""
        raise


def _is_lasting(error: BaseException) -> bool:
    """Whether another try would meet the same. fsspec's HTTP calls every failure of `info` a missing file."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and (isinstance(cause, OSError) or _is_of_http(cause)):
        return _is_lasting(cause)
    status = getattr(error, "status", 0)
    return isinstance(error, _LASTING) or (400 <= status < 500 and status not in _PASSING_STATUS)


def _is_of_http(error: BaseException | None) -> TypeGuard[BaseException]:
    return type(error).__module__.startswith("aiohttp")


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or getattr(error, "status", 0) in (404, 410)
