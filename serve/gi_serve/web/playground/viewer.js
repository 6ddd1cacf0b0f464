// `Viewer`: one stream as people see it: the picture, what is held, the mouse, confidence, ages and drops.

import { drawLatency, drawPad, drawRoll } from "./plots.js";

const KEPT = 200; // ticks on the plots
const TRAIL = 20; // ticks of the mouse's path
const MOST_LANES = 6;
const element = (id) => document.getElementById(id);
const SHORT = {
  ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", ShiftLeft: "Shift", ShiftRight: "R Shift", ControlLeft: "Ctrl",
  ControlRight: "R Ctrl", AltLeft: "Alt", AltRight: "R Alt", MouseLeft: "left click", MouseRight: "right click", MouseMiddle: "middle click",
};

/** A control's name as it stands on a key. */
export const nameOf = (code) => SHORT[code] ?? code.replace(/^(Key|Digit|Gamepad)/, "");

export class Viewer {
  constructor() {
    this.picture = element("picture");
    this.context = this.picture.getContext("2d");
    this.clear("Nothing to see yet", { factors: [], deadlineMs: 50 });
    addEventListener("resize", () => this.plan());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plan());
  }

  /** Begin with another stream. model: {factors, deadlineMs}. */
  clear(title, { factors, deadlineMs }) {
    Object.assign(this, { ticks: [], motions: [], answers: [], seen: new Map(), deadlineMs });
    this.totals = { late: 0, dropped: 0, answers: 0 };
    element("viewer-title").textContent = title;
    element("badge").textContent = "";
    element("empty").hidden = false;
    element("held").replaceChildren();
    element("path").replaceChildren();
    this.context.clearRect(0, 0, this.picture.width, this.picture.height);
    this.meters = factors.map((factor) => {
      const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: 0, ariaLabel: factor });
      const name = Object.assign(document.createElement("dt"), { textContent: factor });
      const number = Object.assign(document.createElement("dd"), { textContent: "-" });
      return { name, meter, number };
    });
    element("factors").replaceChildren(...this.meters.flatMap(({ name, meter, number }) => [name, meter, number]));
    this.plan();
  }

  /** Show pixels: anything that drawImage takes. */
  show(image, width, height) {
    element("empty").hidden = true;
    if (this.picture.width !== width || this.picture.height !== height) {
      Object.assign(this.picture, { width, height });
      this.picture.classList.toggle("tiny", width < 400);
      this.picture.parentElement.style.aspectRatio = `${width} / ${height}`;
    }
    this.context.drawImage(image, 0, 0, width, height);
  }

  /** One answer: {action: {keys, buttons, motion}, confidence, ageMs, isLate, numDropped}. */
  hear({ action, confidence, ageMs, isLate, numDropped }) {
    const held = [...(action.keys ?? []), ...(action.buttons ?? []), ...padButtons(action.gamepad)];
    for (const control of held) this.seen.set(control, (this.seen.get(control) ?? 0) + 1);
    keep(this.ticks, held, KEPT);
    keep(this.motions, action.motion ?? [0, 0], TRAIL);
    keep(this.answers, { ageMs, isLate, numDropped }, KEPT);
    this.totals.late += Number(isLate);
    this.totals.dropped += numDropped;
    this.totals.answers += 1;
    this.confidence = confidence;
    this.plan();
  }

  /** Draw at the screen's next turn, once however much happened. */
  plan() {
    this.isPlanned ||= requestAnimationFrame(() => {
      this.isPlanned = 0;
      this.draw();
    });
  }

  draw() {
    const held = this.ticks.at(-1) ?? [], motion = this.motions.at(-1) ?? [0, 0];
    element("held").replaceChildren(...held.map((control) => Object.assign(document.createElement("kbd"), { textContent: nameOf(control) })));
    element("held").ariaLabel = `Held now: ${held.map(nameOf).join(", ") || "nothing"}`;
    element("mouse").textContent = `${motion[0]}, ${motion[1]} counts`;
    const lanes = [...this.seen].sort((a, b) => b[1] - a[1]).slice(0, MOST_LANES).map(([name]) => [name, nameOf(name)]);
    drawRoll(element("roll"), this.ticks, lanes, KEPT);
    drawPad(element("pad"), this.motions);
    drawLatency(element("latency"), this.answers, this.deadlineMs, KEPT);
    this.drawArrow(motion);
    this.meters.forEach(({ meter, number }, i) => {
      const value = this.confidence?.[i] ?? 0;
      meter.value = value;
      number.textContent = this.totals.answers ? `${Math.round(100 * value)} %` : "-";
    });
    this.summarise();
  }

  /** The motion of this tick, on the picture. */
  drawArrow([dx, dy]) {
    const svg = element("path");
    svg.setAttribute("viewBox", "-50 -50 100 100");
    if (!dx && !dy) return svg.replaceChildren();
    const size = Math.hypot(dx, dy), length = Math.min(42, 8 + 8 * Math.log2(1 + size / 4)), scale = length / size;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const facts = { x1: 0, y1: 0, x2: dx * scale, y2: dy * scale, stroke: "#f0946b", "stroke-width": 1.6, "stroke-linecap": "round" };
    for (const [name, value] of Object.entries(facts)) line.setAttribute(name, value);
    const tip = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, value] of Object.entries({ cx: dx * scale, cy: dy * scale, r: 2, fill: "#f0946b" })) tip.setAttribute(name, value);
    svg.replaceChildren(line, tip);
  }

  summarise() {
    const ages = this.answers.map(({ ageMs }) => ageMs).sort((a, b) => a - b), { late, dropped, answers } = this.totals;
    if (!ages.length) return (element("ages").textContent = "");
    const at = (share) => ages[Math.min(ages.length - 1, Math.floor(share * ages.length))].toFixed(1);
    element("ages").textContent = `${at(0.5)} ms median, ${at(0.95)} ms at 95 %`;
    element("badge").textContent = `${answers} answers · ${late} late · ${dropped} dropped`;
    element("latency").ariaLabel = `Age of the answers: ${at(0.5)} ms median, ${late} late, ${dropped} frames dropped`;
  }
}

const keep = (list, item, most) => {
  list.push(item);
  if (list.length > most) list.shift();
};

/** REST and watchers name pad buttons; the binary protocol has a mask. */
const padButtons = (gamepad) => (Array.isArray(gamepad?.buttons) ? gamepad.buttons : []);
