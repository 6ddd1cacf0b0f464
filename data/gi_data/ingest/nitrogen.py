"""`NitrogenImporter`: the NitroGen dataset (`nvidia/NitroGen`): gamepad labels of public videos, which you bring along.

    SOURCE/actions/SHARD_0000/ID/ID_chunk_0000/{actions_processed,actions_raw}.parquet, metadata.json
    SOURCE/videos/ID.mp4 (or .mkv, .webm, .mov)       beside `actions`, the whole video as it was published

A video becomes one recording. Labels come in chunks of 20 seconds; whatever lies between them is cut out, not stored
as "unlabelled": nobody looked at it, and a model of pictures alone has better sources. `actions_processed` is used
where a video has any: it is filtered for quality and remapped to one layout of buttons; chunks of such a video that
have only `actions_raw` failed that filter, and are cut out, too. The labels were read off a controller that is drawn
into the picture. It is painted black, with a margin: a policy would read the answer from it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from gi_data.ingest.default_bindings import GAMEPAD
from gi_data.ingest.limits import MAX_VIDEO_BYTES, check_file
from gi_data.ingest.nitrogen_chunks import CHUNK_NAME, Chunk, Pixels, chunk_events, gaps, read_chunks
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.video import read_pictures
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov")
MARGIN = 0.1  # of the controller's size, painted over on each side: boxes fit loosely


class NitrogenImporter:
    """Reads labels of NitroGen with the videos they belong to."""

    name = "nitrogen"
    summary = "NitroGen (NVIDIA): gamepad labels of public videos, in 20-second chunks; bring the videos"
    offset = (
        "0: labels were read from a controller drawn into the same picture, so an action stands at the frame that "
        "shows it; a player pressed it up to the overlay's delay (a frame or two) earlier"
    )

    def find(self, source: Path) -> Sequence[Found]:
        """Labelled videos that are there. Raises CorpusError if there is none."""
        folders = sorted({path.parent.parent for path in source.glob("**/*_chunk_*/metadata.json") if _is_chunk(path)})
        videos = [_find_video(folder) for folder in folders]
        if not any(videos):
            got = f"labels of {len(folders)} videos, none of them with its video" if folders else "no labels"
            do = "Put the videos into SOURCE/videos, named by their ids; see docs/lerobot.md."
            raise CorpusError(f"no NitroGen recordings in {source}", got=got, do=do)
        names = recording_ids([folder.name for folder in folders], folders, source)
        there = [(name, folder, video) for name, folder, video in zip(names, folders, videos, strict=True) if video]
        return [Found(name, folder, video.stat().st_size) for name, folder, video in there]

    def read(self, found: Found) -> SourceRecording:
        """Open one video with its labels. Raises ClipError."""
        video = _find_video(found.path)
        if video is None:
            do = f"Put {found.path.name}.mp4 into the folder videos beside actions."
            raise ClipError(f"the video of {found.path.name} is missing", do=do)
        check_file(video, "video", max_bytes=MAX_VIDEO_BYTES)
        chunks, unknown = read_chunks(found.path)
        first = chunks[0]
        return SourceRecording(
            game=first.game,
            fps=first.fps,
            start_ns=first.start_ns,
            end_ns=chunks[-1].end_ns,
            frames=partial(_frames, video, chunks),
            events=partial(chunk_events, chunks),
            bindings=GAMEPAD,
            license="CC-BY-NC-4.0 (labels); the video's own",
            demonstrator="human (labels read by a model)",
            consent="public video; see source",
            extra={"url": first.url, "table": first.table},
            unknown=unknown,
            cuts=gaps(chunks),
        )


def _is_chunk(metadata: Path) -> bool:
    named = CHUNK_NAME.fullmatch(metadata.parent.name)
    return named is not None and named["video"] == metadata.parent.parent.name


def _find_video(folder: Path) -> Path | None:
    """`videos/ID.*` in the nearest of the folders above that has it."""
    for above in folder.parents[:3]:
        for suffix in VIDEO_SUFFIXES:
            if (path := above / "videos" / f"{folder.name}{suffix}").is_file():
                return path
    return None


def _frames(video: Path, chunks: Sequence[Chunk]) -> Iterator[TimedFrame]:
    """Pictures up to the last label, without the controller that was drawn into them."""
    later = iter(chunks)
    chunk = next(later)
    for t_ns, rgb in read_pictures(video):
        if t_ns >= chunks[-1].end_ns:
            return
        while t_ns >= chunk.end_ns:
            chunk = next(later)
        yield TimedFrame(t_ns, partial(_without_overlay, rgb, chunk.overlay))


def _without_overlay(rgb: Callable[[], Frame], overlay: Pixels | None) -> Frame:
    frame = rgb()
    if overlay is None:
        return frame
    frame = frame.copy()
    height, width = frame.shape[:2]
    down, across = MARGIN * (overlay.bottom - overlay.top), MARGIN * (overlay.right - overlay.left)
    top, bottom = overlay.top - down, overlay.bottom + down
    left, right = overlay.left - across, overlay.right + across
    frame[_slice(top, bottom, height), _slice(left, right, width)] = 0
    return frame


def _slice(low: float, high: float, size: int) -> slice:
    """Pixels between two shares of a side, the partly covered ones too."""
    return slice(max(0, int(low * size)), max(0, min(size, -int(-high * size // 1))))
