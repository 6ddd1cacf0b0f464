"""`CsgoFile`: one HDF5 file of the CS:GO data set, opened with suspicion: frame_I_x and frame_I_y for I = 0, 1, ...

HDF5 can point a name, or a data set's bytes, to any other file on the disk, load a plug-in to unpack, and claim any
size. So every name must be a plain link to a data set of exactly the expected shape and type, stored in this file, with
the filters that HDF5 itself brings. Pictures are read one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.csgo_actions import SIZE
from gi_data.ingest.limits import MAX_RECORDING_S, check_file
from gi_model.errors import ClipError
from gi_model.frames import Frame

FPS: Final = 16
HEIGHT, WIDTH = 150, 280
_PICTURE: Final = (HEIGHT, WIDTH, 3)
_FILTERS: Final = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
_MOST_CHUNK_BYTES: Final = 2**22
_KINDS_A_FRAME: Final = 4  # x, y, xaux, helperarr
_DAMAGE: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class CsgoFile:
    """Picklable: it is opened anew for each use."""

    def __init__(self, path: Path) -> None:
        self._path = check_file(path, "CS:GO file")

    def read_actions(self) -> NDArray[np.float64]:
        """Action vectors float64 (T, 51). Raises ClipError naming the first frame that is not as it must be."""
        with self._opened() as file:
            vectors: list[NDArray[np.float64]] = []
            while _link(file, f"frame_{len(vectors)}_x") is not None:
                if len(vectors) >= MAX_RECORDING_S * FPS:
                    raise self._error("has absurdly many frames", got=len(file))
                self._dataset(file, f"frame_{len(vectors)}_x", _PICTURE, kinds="u", most_bytes=1)
                actions = self._dataset(file, f"frame_{len(vectors)}_y", (SIZE,), kinds="fiub", most_bytes=8)
                vectors.append(actions[()].astype(np.float64))
            if len(file) > _KINDS_A_FRAME * len(vectors):
                raise self._error("lacks a picture", got=f"no frame_{len(vectors)}_x among {len(file)} data sets")
        if not vectors:
            raise self._error("holds no frames", got="no frame_0_x")
        return np.stack(vectors)

    def pictures(self) -> Iterator[Frame]:
        """Pictures in RGB, in order. Raises ClipError where one cannot be read."""
        with self._opened() as file:
            number = 0
            while _link(file, name := f"frame_{number}_x") is not None:
                picture = self._dataset(file, name, _PICTURE, kinds="u", most_bytes=1)[()]
                yield np.ascontiguousarray(picture[..., ::-1])  # stored as BGR
                number += 1

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with h5py.File(self._path, "r") as file:
                yield file
        except _DAMAGE as error:
            do = "The file is cut off or damaged: download it again."
            raise self._error("cannot be read", got=str(error)[:200], do=do) from error

    def _dataset(self, file: Any, name: str, shape: tuple[int, ...], *, kinds: str, most_bytes: int) -> Any:
        """The data set called `name`, if nothing about it is unusual."""
        if (link := _link(file, name)) is None:
            raise self._error("lacks a data set", got=f"no {name}")
        if type(link) is not h5py.HardLink:
            raise self._error("points elsewhere", got=f"{name} is a link", expected="the data itself")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape:
            raise self._error(
                "has a wrong shape", got=f"{name}: {getattr(dataset, 'shape', 'no data')}", expected=shape
            )
        if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > most_bytes or dataset.dtype.subdtype:
            raise self._error("has a wrong type", got=f"{name}: {dataset.dtype}", expected=f"numbers ({kinds})")
        self._check_storage(dataset, name)
        return dataset

    def _check_storage(self, dataset: Any, name: str) -> None:
        if dataset.external or dataset.is_virtual:
            raise self._error("points elsewhere", got=f"{name} lies in another file", expected="the data itself")
        creation = dataset.id.get_create_plist()
        filters = {creation.get_filter(index)[0] for index in range(creation.get_nfilters())}
        if filters - _FILTERS:
            raise self._error("needs a plug-in", got=f"{name}: HDF5 filter {min(filters - _FILTERS)}")
        if dataset.chunks and prod(dataset.chunks) * dataset.dtype.itemsize > _MOST_CHUNK_BYTES:
            raise self._error("has absurd chunks", got=f"{name}: {dataset.chunks}")

    def _error(self, what: str, *, got: object = None, expected: object = None, do: str = "") -> ClipError:
        return ClipError(f"CS:GO file {self._path.name} {what}", got=got, expected=expected, do=do)


def _link(file: Any, name: str) -> Any:
    """What a name is, without following it; None if there is none. `name in file` would open other files."""
    return file.get(name, getlink=True)
