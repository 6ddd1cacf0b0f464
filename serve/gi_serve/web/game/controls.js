// Keyboard and mouse of the page -> what is held and turned in one step of the game.
//
// A person is heard while the pointer is locked to the game; a program on the page (the demonstrator, the server's
// client) sends events that are not trusted, and is heard while it plays. What is not bound is not even looked at.

export const BINDINGS = await (await fetch(new URL("bindings.json", import.meta.url))).json();
const ACTIONS = new Map(Object.entries(BINDINGS.digital).map(([action, control]) => [control, action]));
const BUTTONS = ["MouseLeft", "MouseMiddle", "MouseRight", "MouseBack", "MouseForward"]; // MouseEvent.button

export class Controls {
  constructor(canvas) {
    this.canvas = canvas;
    this.isOn = false;
    this.letGo();
    addEventListener("keydown", (event) => this.press(event, event.code));
    addEventListener("keyup", (event) => this.release(event.code));
    canvas.addEventListener("mousedown", (event) => this.press(event, BUTTONS[event.button]));
    addEventListener("mouseup", (event) => this.release(BUTTONS[event.button]));
    addEventListener("mousemove", (event) => this.move(event));
    addEventListener("blur", () => this.letGo());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  get isLocked() {
    return document.pointerLockElement === this.canvas;
  }

  hears(event) {
    return this.isOn && (this.isLocked || !event.isTrusted);
  }

  press(event, control) {
    if (!ACTIONS.has(control) || !this.hears(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.held.add(control);
    this.touched.add(control); // a tap between two steps is a press of one step
  }

  release(control) {
    this.held.delete(control);
  }

  move(event) {
    if (this.hears(event)) this.turn += event.movementX;
  }

  /** Everything up: the player left, or the game stopped. */
  letGo() {
    this.held = new Set();
    this.touched = new Set();
    this.turn = 0;
  }

  /** What this step plays: {held: controls, turn: counts}, and the same as the world takes it. */
  take() {
    const held = new Set([...this.touched, ...this.held]);
    const turn = Math.trunc(this.turn);
    this.turn -= turn;
    this.touched = new Set();
    const input = Object.fromEntries([...ACTIONS].map(([control, action]) => [action, held.has(control)]));
    return { held, turn, input: { ...input, turn } };
  }
}
