"""What the server writes of itself: a line of text or a JSON object an event, to stderr.

Never a frame, and never a secret: keys and tokens are cut out of every message, tracebacks included, and a session is
named by a tag, because its id is its owner's secret.
"""

import hashlib
import json
import logging
import re
import sys
import time
from typing import Final, Literal

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
ACCESS: Final = logging.getLogger("gi_serve.access")
_SECRETS: Final = re.compile(r"(gi-[0-9a-f]{8}-|git-)[A-Za-z0-9_.-]{20,}|(?<=[Bb]earer )\S{8,}")
_SESSION_IN_PATH: Final = re.compile(r"(?:(?<=/sessions/)|(?<=/recordings/))[^/?]+")
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def configure_logs(log_format: LogFormat, *, level: LogLevel, access: bool = False) -> None:
    """Send every logger of the process to stderr in one form. access: requests, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else TextFormatter("%(levelname)s %(name)s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("uvicorn", "websockets", "httpcore"):  # at DEBUG they write down the bytes of every message
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level.upper())))
    ACCESS.setLevel("INFO" if access else "CRITICAL")


class TextFormatter(logging.Formatter):
    """One line, and a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields_of(record).items())
        return redact(f"{super().format(record)} {fields}".rstrip())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        whole, rest = divmod(record.created, 1)
        event = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(rest * 1000):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(event, default=str))


def redact(text: str) -> str:
    """`text` without keys and tokens; the id of a key stays."""
    return _SECRETS.sub(lambda found: f"{found[1] or ''}***", text)


def tag_of(session_id: str) -> str:
    """A name of a session that opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:8]


def tagged_path(path: str) -> str:
    """`path` with a session's tag in the place of its id."""
    return _SESSION_IN_PATH.sub(lambda found: tag_of(found[0]), path)


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
