/** The binary messages of gi.v1.bin: an action as an object, and the names of keys and buttons. */
/** What the client says of itself; its message is for people. */
export class GiError extends Error {}
export const OTHER_VERSION = "the server speaks another version of the protocol: update the older side";

const range = (count, make) => Array.from({ length: count }, (_, index) => make(index));

/** W3C `code` names in the order of the protocol: key id = 1 + index. */
export const KEYS = [
  ...range(26, (i) => `Key${String.fromCharCode(65 + i)}`), ...range(10, (i) => `Digit${i}`), ...range(12, (i) => `F${i + 1}`),
  ..."ArrowUp ArrowDown ArrowLeft ArrowRight Space Enter Tab Escape Backspace CapsLock".split(" "),
  ..."ShiftLeft ShiftRight ControlLeft ControlRight AltLeft AltRight MetaLeft MetaRight".split(" "),
  ..."Backquote Minus Equal BracketLeft BracketRight Backslash Semicolon Quote Comma Period Slash".split(" "),
  ..."IntlBackslash IntlRo IntlYen ContextMenu Insert Delete Home End PageUp PageDown PrintScreen ScrollLock".split(" "),
  ..."Pause NumLock NumpadDivide NumpadMultiply NumpadSubtract NumpadAdd NumpadEnter NumpadDecimal".split(" "),
  ...range(10, (i) => `Numpad${i}`),
];
export const MOUSE_BUTTONS = ["MouseLeft", "MouseRight", "MouseMiddle", "MouseBack", "MouseForward"];

/**
 * Nothing held, nothing moved. gamepad: null, or { buttons: bit mask of the W3C Standard Gamepad, axes: [4], triggers: [2] };
 * commands: of a body's actuators that no control drives, in its order and units.
 */
export const NEUTRAL = Object.freeze({ keys: [], buttons: [], motion: [0, 0], wheel: [0, 0], gamepad: null, commands: [] });

/** An action message as { seq, captureMs, serverMs, numDropped, isLate, states, tokens, confidence }. Throws on another version. */
export function readAction(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 36 || view.getUint8(1) !== 1) throw new GiError(OTHER_VERSION);
  if (view.getUint8(0) !== 2) throw new GiError("the server sent a message of an unknown kind");
  const numTokens = view.getUint16(32, true), horizon = view.getUint8(34), numFactors = view.getUint8(35);
  const atTokens = 36 + 48 * horizon, atConfidence = atTokens + 2 * horizon * numTokens;
  const atCommands = atConfidence + 4 * horizon * numFactors, isCommanded = (view.getUint8(3) >> 2) & 1;
  const numCommands = isCommanded && buffer.byteLength > atCommands ? view.getUint8(atCommands) : 0;
  if (!horizon || buffer.byteLength < atCommands + isCommanded + 4 * horizon * numCommands) throw new GiError("the server sent a cut action");
  const rows = (at, size, get) => range(horizon, (row) => range(size, (i) => get.call(view, at(row * size + i), true)));
  const commands = rows((i) => atCommands + 1 + 4 * i, numCommands, view.getFloat32);
  return {
    seq: Number(view.getBigUint64(8, true)),
    captureMs: Number(view.getBigInt64(16, true)) / 1e6,
    serverMs: view.getUint32(24, true) / 1000,
    numDropped: view.getUint32(28, true),
    isLate: (view.getUint8(3) & 1) === 1,
    states: range(horizon, (i) => ({ ...readState(view, 36 + 48 * i), commands: commands[i] })),
    tokens: rows((i) => atTokens + 2 * i, numTokens, view.getInt16),
    confidence: rows((i) => atConfidence + 4 * i, numFactors, view.getFloat32),
  };
}

function readState(view, at) {
  const f32 = (offset) => view.getFloat32(at + offset, true), i16 = (offset) => view.getInt16(at + offset, true);
  const gamepad = { buttons: view.getUint32(at + 20, true), axes: [f32(24), f32(28), f32(32), f32(36)], triggers: [f32(40), f32(44)] };
  return {
    keys: range(view.getUint8(at + 2), (i) => KEYS[view.getUint8(at + 4 + i) - 1]).filter(Boolean),
    buttons: MOUSE_BUTTONS.filter((_, bit) => (view.getUint8(at + 1) >> bit) & 1),
    motion: [i16(12), i16(14)],
    wheel: [i16(16), i16(18)],
    gamepad: view.getUint8(at) & 1 ? gamepad : null,
  };
}
