"""/v1/recordings: a page records a person's play, in chunks, with consent; see `play_uploads`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Request
from pydantic import BaseModel, Field

from gi_data.ingest.page import MAX_CHUNKS, Upload
from gi_data.ingest.page_chunk import MAX_CHUNK_BYTES, MAX_T_US
from gi_data.seeds import check_seed
from gi_model.actions import Bindings
from gi_serve.access import Caller
from gi_serve.play_consent import CONSENT_TEXT, describe_consent, new_recording_id
from gi_serve.play_uploads import PlayUploads
from gi_serve.problems import RECORDING_OFF, REQUEST_INVALID, Problem
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.schemas import Strict
from gi_serve.service import Service

_LABELS = {"human": "human", "demonstrator": "scripted", "random": "random", "idle": "idle", "server": "policy"}
_CHUNK_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_Side = Annotated[int, Field(ge=16, le=640, multiple_of=2)]


class RecordingOffer(BaseModel):
    """Whether this server records, and what a player must be shown."""

    is_on: bool
    needs_key: bool
    consent_text: str
    max_chunk_bytes: int


class NewRecording(Strict):
    """Body of `POST /v1/recordings`. consent_text: what the player was shown, word for word as the server gave it."""

    game: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}(/[A-Za-z0-9_-]{1,40})?$")]
    fps: Annotated[float, Field(ge=1, le=60)]
    width: _Side
    height: _Side
    bindings: Annotated[dict[str, Any], Field(description="As `Bindings.to_dict`: only these controls are recorded.")]
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    demonstrator: Literal["human", "demonstrator", "random", "idle", "server"] = "human"
    player: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]{1,64}$", description="An SPDX identifier.")]
    consent: Literal[True]
    consent_text: Annotated[str, Field(max_length=2000)]

    def to_upload(self) -> Upload:
        """What is written down. Raises Problem for another text, ConfigError for bindings or a seed that cannot be."""
        if self.consent_text != CONSENT_TEXT:
            raise Problem(REQUEST_INVALID, "consent_text is not what GET /v1/recordings says: show it and ask again.")
        check_seed(self.seed)
        is_person = self.demonstrator == "human"
        return Upload(
            recording_id=new_recording_id(self.game),
            game=self.game,
            fps=self.fps,
            height=self.height,
            width=self.width,
            bindings=Bindings.from_dict(self.bindings),
            demonstrator=_LABELS[self.demonstrator],
            license=self.license,
            consent=describe_consent(self.player) if is_person else "none needed: played by a program",
            extra={"player": self.player, "game_seed": self.seed},
        )


class RecordingView(BaseModel):
    """An upload that is open. id: a secret of its page; recording_id: the name of its clips, for the player to keep."""

    id: str
    recording_id: str


class RecordingEnd(Strict):
    """Body of `.../finish`. end_us: the game's clock at the end, so that the last tick counts."""

    end_us: Annotated[int, Field(ge=0, le=MAX_T_US)] | None = None
    score: Annotated[float, Field(allow_inf_nan=False)] | None = None


class RecordingReport(BaseModel):
    """What became of it."""

    recording_id: str
    ticks: int
    seconds: float
    lost_s: float
    note: str


def build_recording_routes(service: Service) -> APIRouter:
    """The routes of `service`."""
    router = APIRouter(tags=["recordings"])
    player = Annotated[Caller, Depends(require(service.access, "play"))]

    def uploads() -> PlayUploads:
        if service.uploads is None:
            raise Problem(
                RECORDING_OFF, "Start one that does: gi record GAME --browser, or gi serve --record-play DIR."
            )
        return service.uploads

    spool = Annotated[PlayUploads, Depends(uploads)]

    @router.get("/v1/recordings", responses=problems(400, 403))
    async def get_offer() -> RecordingOffer:
        """Whether this server records players, and the consent text to show them. No key needed."""
        return RecordingOffer(
            is_on=service.uploads is not None,
            needs_key=not service.access.is_open,
            consent_text=CONSENT_TEXT,
            max_chunk_bytes=MAX_CHUNK_BYTES,
        )

    @router.post("/v1/recordings", status_code=201, responses=problems(*ANY, 404, *BODY, 500, 503))
    async def begin(caller: player, recorder: spool, body: NewRecording) -> RecordingView:
        """Begin a recording. The player has agreed, or is a program."""
        opened = await recorder.begin(body.to_upload(), caller)
        return RecordingView(id=opened.id, recording_id=opened.upload.recording_id)

    @router.post(
        "/v1/recordings/{recording}/chunks/{number}",
        status_code=204,
        openapi_extra=_CHUNK_BODY,
        responses=problems(*ANY, 404, *BODY, 500),
    )
    async def add_chunk(
        caller: player,
        recorder: spool,
        recording: str,
        number: Annotated[int, Path(ge=0, lt=MAX_CHUNKS)],
        request: Request,
    ) -> None:
        """Add a chunk, once it is on disk; the same number again changes nothing. Any order."""
        await recorder.add(recording, number, await request.body(), caller)

    @router.post("/v1/recordings/{recording}/finish", responses=problems(*ANY, 404, *BODY, 500))
    async def finish(
        caller: player, recorder: spool, recording: str, body: Annotated[RecordingEnd | None, Body()] = None
    ) -> RecordingReport:
        """End it: clips are made, and are there when this is answered."""
        end = body or RecordingEnd()
        made = await recorder.finish(recording, caller, end_us=end.end_us, score=end.score)
        return RecordingReport(
            recording_id=made.recording_id,
            ticks=made.ticks,
            seconds=made.seconds,
            lost_s=made.lost_s,
            note=made.note,
        )

    @router.delete("/v1/recordings/{recording}", status_code=204, responses=problems(*ANY, 404, 422))
    async def discard(caller: player, recorder: spool, recording: str) -> None:
        """Take it back: all that arrived is deleted."""
        await recorder.discard(recording, caller)

    return router
