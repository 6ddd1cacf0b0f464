/**
 * Input states as DOM events on an element: what a game of the page listens to. The events are real but not "trusted":
 * a game sees them, the browser does not act on them (no typing into fields, no shortcuts), and a game that insists on
 * `event.isTrusted` ignores them.
 */
import { MOUSE_BUTTONS, NEUTRAL } from "./gi-protocol.js";

const DOM_BUTTON = { MouseLeft: 0, MouseMiddle: 1, MouseRight: 2, MouseBack: 3, MouseForward: 4 };
const WHEEL_NOTCH = 100; // pixels
// code: keyCode, key, key with shift; letters, digits, F keys, and the numpad's digits follow from their names
const OTHER = {
  ArrowUp: [38], ArrowDown: [40], ArrowLeft: [37], ArrowRight: [39], Space: [32, " "], Enter: [13], Tab: [9], Escape: [27],
  Backspace: [8], CapsLock: [20], ShiftLeft: [16, "Shift"], ShiftRight: [16, "Shift"], ControlLeft: [17, "Control"],
  ControlRight: [17, "Control"], AltLeft: [18, "Alt"], AltRight: [18, "Alt"], MetaLeft: [91, "Meta"], MetaRight: [92, "Meta"],
  Backquote: [192, "`", "~"], Minus: [189, "-", "_"], Equal: [187, "=", "+"], BracketLeft: [219, "[", "{"],
  BracketRight: [221, "]", "}"], Backslash: [220, "\\", "|"], Semicolon: [186, ";", ":"], Quote: [222, "'", '"'],
  Comma: [188, ",", "<"], Period: [190, ".", ">"], Slash: [191, "/", "?"], IntlBackslash: [226, "\\", "|"],
  IntlRo: [193, "\\", "_"], IntlYen: [255, "\\", "|"], ContextMenu: [93], Insert: [45], Delete: [46], Home: [36], End: [35],
  PageUp: [33], PageDown: [34], PrintScreen: [44], ScrollLock: [145], Pause: [19], NumLock: [144], NumpadDivide: [111, "/"],
  NumpadMultiply: [106, "*"], NumpadSubtract: [109, "-"], NumpadAdd: [107, "+"], NumpadEnter: [13, "Enter"], NumpadDecimal: [110, "."],
};

/** keyCode and key of a W3C `code`, on a US keyboard. */
export function keyOf(code, isShifted = false) {
  const [, kind, name] = /^(Key|Digit|Numpad|F)([A-Z]|\d+)$/.exec(code) ?? [];
  if (kind === "Key") return [name.charCodeAt(0), isShifted ? name : name.toLowerCase()];
  if (kind === "Digit") return [48 + Number(name), isShifted ? ")!@#$%^&*("[name] : name];
  if (kind === "Numpad") return [96 + Number(name), name];
  if (kind === "F") return [111 + Number(name), code];
  const [keyCode, key = code, shifted = key] = OTHER[code];
  return [keyCode, isShifted ? shifted : key];
}

/** Holds input states on `target`. pretendLock: let the game believe that it has the pointer lock, which needs a person's click. */
export class Inputs {
  constructor(target, { pretendLock = false } = {}) {
    this.target = target; this.state = NEUTRAL; this.gamepad = null;
    const { width, height } = target.getBoundingClientRect();
    this.cursor = [width / 2, height / 2];
    if (pretendLock) this.#pretendLock();
  }

  /** Press and release what changed since the last state; spend its motion and wheel. */
  hold(state) {
    const before = this.state;
    this.state = state;
    for (const code of before.keys) if (!state.keys.includes(code)) this.#key("keyup", code);
    for (const code of state.keys) if (!before.keys.includes(code)) this.#key("keydown", code);
    if (state.motion[0] || state.motion[1]) this.#move(...state.motion);
    for (const name of before.buttons) if (!state.buttons.includes(name)) this.#button("up", name);
    for (const name of state.buttons) if (!before.buttons.includes(name)) this.#button("down", name);
    if (state.wheel[0] || state.wheel[1]) {
      this.#send(WheelEvent, "wheel", { deltaX: state.wheel[0] * WHEEL_NOTCH, deltaY: state.wheel[1] * WHEEL_NOTCH, ...this.#mouse() });
    }
    if (state.gamepad || this.gamepad) this.#play(state.gamepad ?? { buttons: 0, axes: [0, 0, 0, 0], triggers: [0, 0] });
  }

  /** Everything up. */
  release() { this.hold(NEUTRAL); }

  #send(Kind, type, fields) {
    this.target.dispatchEvent(new Kind(type, { bubbles: true, cancelable: true, composed: true, view: window, ...this.#modifiers(), ...fields }));
  }

  #modifiers() {
    const has = (name) => this.state.keys.some((code) => code.startsWith(name));
    return { shiftKey: has("Shift"), ctrlKey: has("Control"), altKey: has("Alt"), metaKey: has("Meta") };
  }

  #key(type, code) {
    const [keyCode, key] = keyOf(code, this.#modifiers().shiftKey);
    const [, side] = /^(?:Shift|Control|Alt|Meta)(Left|Right)$/.exec(code) ?? [];
    const location = side === "Left" ? 1 : side === "Right" ? 2 : code.startsWith("Numpad") ? 3 : 0;
    this.#send(KeyboardEvent, type, { code, key, keyCode, which: keyCode, location });
  }

  #mouse() {
    const { left, top } = this.target.getBoundingClientRect(), [x, y] = this.cursor;
    const buttons = MOUSE_BUTTONS.reduce((mask, name, bit) => mask | (this.state.buttons.includes(name) << bit), 0);
    return { clientX: left + x, clientY: top + y, screenX: left + x, screenY: top + y, buttons, pointerId: 1, pointerType: "mouse", isPrimary: true };
  }

  #move(dx, dy) {
    const { width, height } = this.target.getBoundingClientRect();
    this.cursor = [Math.min(Math.max(this.cursor[0] + dx, 0), width), Math.min(Math.max(this.cursor[1] + dy, 0), height)];
    const fields = { ...this.#mouse(), movementX: dx, movementY: dy };
    this.#send(PointerEvent, "pointermove", fields);
    this.#send(MouseEvent, "mousemove", fields);
  }

  #button(way, name) {
    const fields = { ...this.#mouse(), button: DOM_BUTTON[name] };
    this.#send(PointerEvent, `pointer${way}`, fields);
    this.#send(MouseEvent, `mouse${way}`, fields);
    if (way === "up") this.#send(MouseEvent, name === "MouseLeft" ? "click" : "auxclick", fields);
  }

  /** A game asks `navigator.getGamepads()`: from the first state that uses it on, one more answers there. */
  #play({ buttons, axes, triggers }) {
    if (!this.gamepad) {
      this.gamepad = { id: "gi (STANDARD GAMEPAD)", index: 0, connected: true, mapping: "standard", vibrationActuator: null };
      const others = navigator.getGamepads?.bind(navigator);
      navigator.getGamepads = () => { const all = [...(others?.() ?? [])]; all[0] = this.gamepad; return all; };
      window.dispatchEvent(Object.assign(new Event("gamepadconnected"), { gamepad: this.gamepad }));
    }
    const button = (bit) => {
      const isPressed = ((buttons >> bit) & 1) === 1, value = bit === 6 || bit === 7 ? Math.max(triggers[bit - 6], +isPressed) : +isPressed;
      return { pressed: isPressed, touched: value > 0, value };
    };
    Object.assign(this.gamepad, { axes: [...axes], buttons: Array.from({ length: 17 }, (_, bit) => button(bit)), timestamp: performance.now() });
  }

  #pretendLock() {
    let locked = this.target;
    const change = (to) => { locked = to; document.dispatchEvent(new Event("pointerlockchange")); };
    Object.defineProperty(document, "pointerLockElement", { configurable: true, get: () => locked });
    this.target.requestPointerLock = async () => change(this.target);
    document.exitPointerLock = () => change(null);
    document.dispatchEvent(new Event("pointerlockchange"));
  }
}
