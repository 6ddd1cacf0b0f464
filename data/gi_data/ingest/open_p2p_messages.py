"""open-p2p's protobuf messages, as far as we read them: built from the tables below when this module is imported.

Fields that are not in the table are skipped by protobuf: text, embeddings, games' inner states. A recording's message
may be huge and is a stranger's, so it is not parsed as one: its top level is walked by hand, and frame after frame is
parsed alone. Rejected: generated code, which is longer than the table and bound to one version of protoc.
"""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from gi_model.errors import ClipError

_TABLE: Final = """
Vec2Int: 1 x int32, 2 y int32
Env: 1 env string, 2 env_subtype string, 3 env_version string
Metadata: 1 id string, 5 frames_per_second float, 6 env Env
MouseAction: 3 mouse_delta_px Vec2Int, 4 scroll_delta_px Vec2Int, 9 buttons_down string*
KeyboardAction: 1 keys string*
GamePadButtons: 1 south bool, 2 north bool, 3 east bool, 4 west bool, 5 dpad_up bool, 6 dpad_down bool, \
7 dpad_left bool, 8 dpad_right bool, 9 start bool, 10 select bool, 11 left_bumper bool, 12 right_bumper bool
Stick: 1 x float, 2 y float, 3 pressed bool
GamePadAction: 1 buttons GamePadButtons, 2 left_stick Stick, 3 right_stick Stick, 4 left_trigger float, \
5 right_trigger float
LowLevelAction: 2 keyboard KeyboardAction, 3 is_known bool, 4 mouse MouseAction, 5 game_pad GamePadAction
MouseButtonEvent: 1 button string, 2 pressed bool
KeyboardEvent: 1 key string, 2 pressed bool
GamePadButtonEvent: 1 button string, 2 pressed bool
InputEvent: 1 mouse_event MouseButtonEvent, 2 keyboard_event KeyboardEvent, 4 wheel_event Vec2Int, \
5 mouse_delta_event Vec2Int, 6 time uint64, 7 game_pad_button_event GamePadButtonEvent, 10 simulated bool
FrameAnnotation: 1 user_action LowLevelAction, 6 system_action LowLevelAction, 8 frame_time uint64, \
9 input_events InputEvent*
VideoAnnotation: 2 metadata Metadata, 3 frame_annotations FrameAnnotation*, 6 version int32
"""
# What its capture tool and a server of actions say to each other while the game runs.
_INFERENCE: Final = """
Vec2Int: 1 x int32, 2 y int32
Frame: 1 width int32, 2 height int32, 3 data bytes, 4 id int32
MouseAction: 1 mouse_delta_px Vec2Int, 3 scroll_delta_px Vec2Int, 4 buttons_down string*
Action: 1 keys string*, 2 id int32, 3 mouse_action MouseAction
"""
_METADATA, _FRAME = 2, 3  # fields of VideoAnnotation
_LARGEST: Final = {_METADATA: 2**20, _FRAME: 2**24}  # bytes
_FIXED: Final = {1: 8, 5: 4}  # sizes of the wire types that have one


def _build(table: str, package: str) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"gi_{package}.proto", package=package, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for line in table.strip().splitlines():
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            number, field, kind = text.split()
            repeated = kind.endswith("*")
            scalar = getattr(kinds, f"TYPE_{kind.rstrip('*').upper()}", None)
            message.field.add(
                name=field,
                number=int(number),
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
                type=scalar or kinds.TYPE_MESSAGE,
                type_name=None if scalar else f".{package}.{kind.rstrip('*')}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


MESSAGES: Final = _build(_TABLE, "elefant.training_data.video_annotation")
INFERENCE_MESSAGES: Final = _build(_INFERENCE, "elefant.training_data.video_inference")


def read_metadata(content: bytes, name: str) -> Any:
    """The metadata message, empty if there is none. Raises ClipError naming recording `name`."""
    found = MESSAGES["Metadata"]()
    for part in _parts(content, _METADATA, name):
        _parse(found, part, name)
    return found


def read_frames(content: bytes, name: str) -> Iterator[Any]:
    """Frame annotations, parsed one by one. Raises ClipError naming recording `name` at what is none."""
    for part in _parts(content, _FRAME, name):
        yield _parse(MESSAGES["FrameAnnotation"](), part, name)


def _parse(message: Any, content: bytes, name: str) -> Any:
    try:
        message.MergeFromString(content)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(name, str(error)) from error
    return message


def _parts(content: bytes, wanted: int, name: str) -> Iterator[bytes]:
    """The contents of every field `wanted` at the top level."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position, name)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, position = _varint(content, position, name)
            continue
        if kind not in (1, 2, 5) or not number:
            raise _broken(name, f"wire type {kind} at byte {position}")
        size, position = (_FIXED[kind], position) if kind in _FIXED else _varint(content, position, name)
        if position + size > len(content) or (number == wanted and size > _LARGEST[wanted]):
            raise _broken(name, f"a field of {size} bytes at byte {position} of {len(content)}")
        if number == wanted and kind == 2:
            yield content[position : position + size]
        position += size


def _varint(content: bytes, position: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(content):
            break
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _broken(name, f"cut off at byte {position}")


def _broken(name: str, got: str) -> ClipError:
    do = "The file is cut off or no VideoAnnotation: download it again."
    return ClipError(f"annotation of {name} cannot be read", got=got, expected="open-p2p's protobuf", do=do)
