// The contact sheet: videos with the inputs of the very tick that is on the screen.
// A corpus holds strangers' text: it reaches the page through textContent and attributes only, never as HTML.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const TRAIL = 10;  // ticks of mouse path behind the current one
  const SLOW = 0.2;
  const OVERLAY = { motion: "#f0946b", cursor: "#4fd1a5", outline: "#0009" };  // on pictures: the same in light and dark
  const NAMES = {
    ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→",
    ShiftLeft: "Shift", ControlLeft: "Ctrl", AltLeft: "Alt", MetaLeft: "Meta",
    ShiftRight: "R Shift", ControlRight: "R Ctrl", AltRight: "R Alt", MetaRight: "R Meta",
    MouseLeft: "Mouse L", MouseRight: "Mouse R", MouseMiddle: "Mouse M", MouseBack: "Mouse ‹", MouseForward: "Mouse ›",
    GamepadLeftBumper: "Pad LB", GamepadRightBumper: "Pad RB", GamepadLeftTrigger: "Pad LT", GamepadRightTrigger: "Pad RT",
    GamepadLeftStick: "Pad L3", GamepadRightStick: "Pad R3",
  };
  const AXES = [
    ["motion.x", "mouse x", (s) => (s.motion || [0, 0])[0]], ["motion.y", "mouse y", (s) => (s.motion || [0, 0])[1]],
    ["wheel.x", "wheel x", (s) => (s.wheel || [0, 0])[0]], ["wheel.y", "wheel y", (s) => (s.wheel || [0, 0])[1]],
    ...["left_stick", "right_stick", "triggers"].flatMap((device) => ["x", "y"].map((axis, i) => [
      `${device}.${axis}`, device === "triggers" ? `trigger ${"LR"[i]}` : `${device[0].toUpperCase()} stick ${axis}`,
      (s) => (s.gamepad && s.gamepad[device] ? s.gamepad[device][i] : 0),
    ])),
  ];
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const page = { paused: calm, rate: 1, game: null };

  const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);  // strings become text nodes
    return element;
  }
  const shorten = (code) => NAMES[code] || code.replace(/^(Key|Digit)/, "").replace(/^Numpad/, "Num ").replace(/^Gamepad/, "Pad ");
  const held = (state) => [...(state.keys || []), ...(state.buttons || []), ...((state.gamepad || {}).buttons || [])];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const read = (element) => JSON.parse(element.textContent);

  class Tile {
    constructor(data) {
      this.data = data;
      this.states = data.states;
      this.tick = -1;
      this.slow = false;
      this.wanted = !page.paused;  // what the person asked for; off-screen tiles rest all the same
      this.visible = false;
      this.actions = new Map(Object.entries(data.bindings.digital || {}).map(([action, code]) => [code, action]));
      this.axes = new Map(Object.entries(data.bindings.analogue || {}).map(([action, axis]) => [axis.axis, { action, ...axis }]));
      this.reach = this.findReach();
      this.build();
      this.show(0);
    }

    // ---- parts -----------------------------------------------------------------------------------------------

    build() {
      const { data } = this;
      this.video = make("video", { playsinline: "", preload: "auto", "aria-label": `play of ${data.game}` });
      this.video.muted = true;
      this.picture = draw("svg", { viewBox: `0 0 ${data.width} ${data.height}`, "aria-hidden": "true" });
      this.held = make("div", { class: "held" });
      this.badge = make("span", { class: "badge" });
      this.unknown = make("span", { class: "badge right", hidden: "" }, "not labelled");
      this.element = make("article", { tabindex: "0", "data-key": data.key, "aria-label": `clip ${data.key}` },
        make("div", { class: "picture" }, this.video, this.picture, this.held, this.badge, this.unknown),
        make("h2", {}, data.game), this.buildRoll(), this.buildUnused(), this.buildControls(), this.buildFacts());
      this.element.tile = this;
      this.element.addEventListener("keydown", (event) => this.onKey(event));
      this.video.addEventListener("click", () => this.toggle());
      this.video.addEventListener("ended", () => this.restart());
      this.video.addEventListener("error", () => this.fail());
      this.video.addEventListener("loadedmetadata", () => { this.goTo(0); this.follow(); }, { once: true });
    }

    buildRoll() {
      const used = new Set(this.states.flatMap(held));
      this.lanes = [...used].sort().map((code) => this.makeLane(code, shorten(code), this.actions.get(code),
        (state) => (held(state).includes(code) ? 1 : 0), 0));
      for (const [axis, label, value] of AXES) {
        const bound = this.axes.get(axis);
        if (this.states.some(value)) this.lanes.push(this.makeLane(axis, label, bound && bound.action, value, 1));
      }
      this.data.actuators.forEach(([name, unit], i) => this.lanes.push(
        this.makeLane(`command.${name}`, name, unit, (state) => (state.commands || [])[i] || 0, 1)));
      this.head = make("i");
      this.slider = make("div", { class: "playhead", role: "slider", tabindex: "0", "aria-label": "tick",
        "aria-valuemin": "0", "aria-valuemax": String(this.states.length - 1) }, this.head);
      this.slider.addEventListener("pointerdown", (event) => { this.slider.setPointerCapture(event.pointerId); this.point(event); });
      this.slider.addEventListener("pointermove", (event) => { if (event.buttons & 1) this.point(event); });
      const empty = this.lanes.length ? [] : [make("div", { class: "lane" }, make("div", { class: "name" }, "nothing held or moved"))];
      return make("div", { class: "roll" }, ...this.lanes.map((lane) => lane.element), ...empty, this.slider);
    }

    makeLane(code, label, action, value, signed) {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const title = action ? `${code}: ${action}` : code;
      const name = make("div", { class: "name", title }, make("kbd", {}, label), make("span", {}, action || ""));
      const element = make("div", { class: "lane", "data-lane": code }, name, canvas);
      return { code, element, canvas, signed, values: this.states.map(value) };
    }

    buildUnused() {
      const used = new Set(this.lanes.map((lane) => lane.code));
      const rest = [...this.actions].filter(([code]) => !used.has(code));
      if (!rest.length) return "";
      const caps = rest.map(([code, action]) => make("kbd", { title: `${code}: ${action}` }, `${shorten(code)} ${action}`));
      return make("div", { class: "unused" }, "not used here", ...caps);
    }

    buildControls() {
      const button = (label, title, act) => {
        const element = make("button", { type: "button", title }, label);
        element.addEventListener("click", act);
        return element;
      };
      this.playButton = button("Pause", "Space", () => this.toggle());
      this.slowButton = button("Slow", "S", () => this.setSlow(!this.slow));
      this.slowButton.setAttribute("aria-pressed", "false");
      this.output = make("output");
      return make("div", { class: "controls" }, this.playButton, button("‹ Step", "comma", () => this.step(-1)),
        button("Step ›", "full stop", () => this.step(1)), this.slowButton, this.output);
    }

    buildFacts() {
      const { data } = this;
      const from = data.first / data.fps, to = (data.first + this.states.length) / data.fps;
      const facts = [["recording", data.recording_id], ["time", `${from.toFixed(1)} to ${to.toFixed(1)} s of part ${data.part}`],
        ["split", data.split], ["licence", data.license || "none"], ["consent", data.consent || "none"],
        ["source", `${data.source}, played by ${data.demonstrator}`],
        ["video", `${data.width} x ${data.height}, ${Number(data.fps.toFixed(3))} ticks a second`]];
      return make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    }

    // ---- time ------------------------------------------------------------------------------------------------

    load() {
      if (this.video.src) return;
      const bytes = Uint8Array.from(atob(this.data.video), (letter) => letter.charCodeAt(0));
      this.data.video = null;
      this.video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    }

    // A frame on the screen tells its own time; currentTime only estimates it.
    follow() {
      if (this.video.requestVideoFrameCallback) {
        const onFrame = (_, frame) => {
          if (!this.video.seeking) this.show(this.tickAt(frame.mediaTime));  // else a late word of the picture before
          this.video.requestVideoFrameCallback(onFrame);
        };
        this.video.requestVideoFrameCallback(onFrame);
      } else {
        const onRepaint = () => { this.show(Math.floor(this.video.currentTime * this.data.fps + 0.01) - this.data.lead); requestAnimationFrame(onRepaint); };
        requestAnimationFrame(onRepaint);
      }
    }

    tickAt(mediaTime) { return Math.round(mediaTime * this.data.fps) - this.data.lead; }
    seek(tick) { this.video.currentTime = (this.data.lead + clamp(tick, 0, this.states.length - 1) + 0.5) / this.data.fps; }
    restart() { this.goTo(0); this.apply(); }
    step(by) {
      this.setWanted(false);
      this.goTo((this.tick + by + this.states.length) % this.states.length);
    }
    goTo(tick) { this.seek(tick); this.show(tick); }
    toggle() { this.setWanted(!this.wanted); }
    setWanted(wanted) { this.wanted = wanted; this.apply(); }
    setSlow(slow) {
      this.slow = slow;
      this.slowButton.setAttribute("aria-pressed", String(slow));
      this.apply();
    }
    setVisible(visible) { this.visible = visible; if (visible) this.load(); this.apply(); }

    apply() {
      this.video.defaultPlaybackRate = this.video.playbackRate = page.rate * (this.slow ? SLOW : 1);
      this.playButton.textContent = this.wanted ? "Pause" : "Play";
      if (this.wanted && this.visible) this.video.play().catch(() => {});  // refused, or paused again at once
      else this.video.pause();
    }

    fail() { this.unknown.textContent = "this browser cannot play the video"; this.unknown.hidden = false; }

    point(event) {
      const box = this.slider.getBoundingClientRect();
      this.setWanted(false);
      this.goTo(clamp(Math.floor((event.clientX - box.left) / box.width * this.states.length), 0, this.states.length - 1));
    }

    onKey(event) {
      const onButton = event.target.tagName === "BUTTON";
      const act = { " ": onButton ? null : () => this.toggle(), ",": () => this.step(-1), ".": () => this.step(1),
        ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), s: () => this.setSlow(!this.slow) }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    }

    // ---- what is held at a tick --------------------------------------------------------------------------------

    show(tick) {
      tick = clamp(tick, 0, this.states.length - 1);
      if (tick === this.tick) return;
      this.tick = tick;
      const state = this.states[tick], codes = held(state);
      this.held.replaceChildren(...codes.map((code) => this.cap(code)), ...this.wheelCaps(state), ...this.commandCaps(state));
      this.picture.replaceChildren(...this.drawMotion(), ...this.drawCursor(state), ...this.drawPad(state));
      for (const lane of this.lanes) lane.element.classList.toggle("lit", Boolean(lane.values[tick]));
      this.unknown.hidden = Boolean(this.data.known[tick]);
      const [dx, dy] = state.motion || [0, 0];
      this.badge.textContent = dx || dy ? `mouse ${signed(dx)}, ${signed(dy)}` : "mouse still";
      this.badge.hidden = !this.states.some((other) => other.motion);
      this.head.style.left = `${(tick + 0.5) / this.states.length * 100}%`;
      this.output.textContent = `${(tick / this.data.fps).toFixed(2)} s, tick ${tick + 1} of ${this.states.length}`;
      this.slider.setAttribute("aria-valuenow", String(tick));
      this.slider.setAttribute("aria-valuetext", `tick ${tick + 1}: ${codes.join(", ") || "nothing held"}`);
      this.element.dataset.tick = String(tick);
    }

    cap(code) {
      const action = this.actions.get(code);
      const parts = action ? [shorten(code), make("small", {}, action)] : [shorten(code)];
      return make("kbd", { "data-code": code }, ...parts);
    }

    wheelCaps(state) {
      const [x, y] = state.wheel || [0, 0];
      const caps = [];
      if (y) caps.push(make("kbd", { "data-wheel": String(y) }, `wheel ${y > 0 ? "↓" : "↑"} ${Math.abs(y)}`));
      if (x) caps.push(make("kbd", { "data-wheel-x": String(x) }, `wheel ${x > 0 ? "→" : "←"} ${Math.abs(x)}`));
      return caps;
    }

    commandCaps(state) {
      return (state.commands || []).map((value, i) => {
        const [name, unit] = this.data.actuators[i] || [`command ${i + 1}`, ""];
        return make("kbd", { "data-command": name }, `${name} ${value.toFixed(2)}`, make("small", {}, unit));
      });
    }

    // The largest motion but a few draws an arrow of a third of the picture.
    findReach() {
      const sizes = this.states.map((s) => Math.hypot(...(s.motion || [0, 0]))).filter(Boolean).sort((a, b) => a - b);
      return sizes.length ? Math.max(4, sizes[Math.floor(sizes.length * 0.97)]) : 1;
    }

    drawMotion() {
      const { width, height } = this.data, unit = Math.min(width, height) / 3 / this.reach, thick = height / 110;
      const steps = [];
      for (let t = this.tick; t >= 0 && t > this.tick - TRAIL; t--) steps.push(this.states[t].motion || [0, 0]);
      if (!steps.some(([dx, dy]) => dx || dy)) return [];
      let x = width / 2, y = height / 2;
      const points = [[x, y]];
      for (const [dx, dy] of steps.slice(1)) { x -= dx * unit / 4; y -= dy * unit / 4; points.push([x, y]); }
      const trail = draw("polyline", { points: points.join(" "), fill: "none", stroke: OVERLAY.motion, "stroke-width": thick,
        opacity: "0.55", "stroke-linejoin": "round" });
      const [dx, dy] = steps[0];
      return dx || dy ? [trail, ...this.drawArrow(dx * unit, dy * unit, thick * 2)] : [trail];
    }

    drawArrow(dx, dy, thick) {
      const { width, height } = this.data, length = Math.hypot(dx, dy), most = Math.min(width, height) * 0.45;
      const scale = Math.min(1, most / length), [ux, uy] = [dx / length, dy / length];
      const [x, y] = [width / 2, height / 2], [tx, ty] = [x + dx * scale, y + dy * scale], barb = Math.min(thick * 3, length * scale * 0.6);
      const path = `M${x} ${y} L${tx} ${ty} M${tx - barb * (ux + uy * 0.7)} ${ty - barb * (uy - ux * 0.7)} L${tx} ${ty} `
        + `L${tx - barb * (ux - uy * 0.7)} ${ty - barb * (uy + ux * 0.7)}`;
      const shape = { d: path, fill: "none", "stroke-linecap": "round", "stroke-linejoin": "round" };
      return [draw("path", { ...shape, stroke: OVERLAY.outline, "stroke-width": thick * 2 }),
        draw("path", { ...shape, stroke: OVERLAY.motion, "stroke-width": thick, class: "motion" })];
    }

    drawCursor(state) {
      if (!state.cursor) return [];
      const { width, height } = this.data, [cx, cy] = [state.cursor[0] * width, state.cursor[1] * height], r = height / 28;
      const down = (state.buttons || []).length > 0;
      return [draw("circle", { cx, cy, r, fill: "none", stroke: OVERLAY.outline, "stroke-width": r * 0.9 }),
        draw("circle", { cx, cy, r, fill: down ? OVERLAY.motion : "none", stroke: OVERLAY.cursor, "stroke-width": r * 0.45, class: "cursor" }),
        draw("circle", { cx, cy, r: r * 0.25, fill: OVERLAY.cursor })];
    }

    drawPad(state) {
      if (!state.gamepad) return [];
      const { width, height } = this.data, r = height / 12, cy = height - r * 3.4;
      const sides = [["left_stick", width - r * 4.2, 0], ["right_stick", width - r * 1.6, 1]];
      return sides.flatMap(([stick, cx, side]) => {
        const [x, y] = state.gamepad[stick] || [0, 0], pull = (state.gamepad.triggers || [0, 0])[side];
        return [draw("circle", { cx, cy, r: r * 1.1, fill: OVERLAY.outline, stroke: "#fff9", "stroke-width": r / 10 }),
          draw("line", { x1: cx, y1: cy, x2: cx + x * r, y2: cy + y * r, stroke: OVERLAY.cursor, "stroke-width": r / 6 }),
          draw("circle", { cx: cx + x * r, cy: cy + y * r, r: r / 3, fill: OVERLAY.cursor, class: stick }),
          draw("rect", { x: cx - r, y: cy - r * 1.8, width: r * 2, height: r * 0.4, fill: OVERLAY.outline }),
          draw("rect", { x: cx - r, y: cy - r * 1.8, width: r * 2 * pull, height: r * 0.4, fill: OVERLAY.motion })];
      });
    }

    // ---- the roll ------------------------------------------------------------------------------------------------

    paint() {
      const [accent, warm] = ["--accent", "--warm"].map(colour);
      for (const lane of this.lanes) this.paintLane(lane, { accent, warm });
    }

    paintLane(lane, { accent, warm }) {
      const { canvas, values } = lane, box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
      if (!box.width) return;
      canvas.width = Math.round(box.width * ratio);
      canvas.height = Math.round(box.height * ratio);
      const context = canvas.getContext("2d"), width = canvas.width / values.length, { height } = canvas;
      const most = values.reduce((top, value) => Math.max(top, Math.abs(value)), 0) || 1;
      values.forEach((value, t) => {
        const known = this.data.known[t];
        if (!known) this.paintUnknown(context, t * width, width, height, warm);
        context.fillStyle = known ? accent : warm;
        const size = lane.signed ? value / most * height / 2 : value * height;
        context.fillRect(t * width, lane.signed ? height / 2 - Math.max(size, 0) : 0, Math.max(width, 1) + 0.5, Math.abs(size));
      });
    }

    paintUnknown(context, left, width, height, warm) {
      context.globalAlpha = 0.3;
      context.fillStyle = warm;
      context.fillRect(left, 0, width, height);
      context.globalAlpha = 1;
    }
  }

  const signed = (value) => (value > 0 ? `+${value}` : String(value));

  // ---- the page ----------------------------------------------------------------------------------------------------

  const facts = read(document.getElementById("facts"));
  const tiles = [...document.querySelectorAll("script.tile")].map((element) => {
    const tile = new Tile(read(element));
    element.remove();  // frees the text of the video
    return tile;
  });
  document.getElementById("sheet").append(...tiles.map((tile) => tile.element));

  const { totals, draw: drawn } = facts;
  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const games = Object.keys(totals.hours_by_game);
  const scope = [drawn.games.length ? `of ${drawn.games.join(", ")}` : "", drawn.split ? `in split ${drawn.split}` : ""].filter(Boolean).join(" ");
  document.getElementById("lead").textContent = `${count(drawn.shown, "clip")} ${scope} drawn at random by length (seed ${drawn.seed}), `
    + "each with what its player held at the very tick you see."
    + (drawn.shown < drawn.drawn ? ` ${drawn.drawn - drawn.shown} more did not fit on the page.` : "");
  const share = (hours) => `${totals.hours ? (100 * hours / totals.hours).toFixed(0) : 0} %`;
  const rate = (hours) => hours < 0.1 ? `${(hours * 60).toFixed(1)} min` : `${hours.toLocaleString("en", { maximumFractionDigits: hours < 10 ? 2 : 0 })} h`;
  const licences = Object.entries(totals.hours_by_license).sort((a, b) => b[1] - a[1]);
  const shownLicences = licences.slice(0, 3).map(([name, hours]) => `${name || "none"} ${share(hours)}`).join(", ");
  document.getElementById("totals").append(...[
    [rate(totals.hours), "of play in this corpus"], [totals.clips.toLocaleString("en"), "clips"],
    [totals.recordings.toLocaleString("en"), "recordings"], [String(games.length), games.length === 1 ? "game" : "games"],
    [String(licences.length), `licence${licences.length === 1 ? "" : "s"}: ${shownLicences}${licences.length > 3 ? ", ..." : ""}`],
  ].map(([value, label]) => make("div", {}, make("b", {}, value), make("span", {}, label))));

  const bar = document.getElementById("bar");
  const pick = (label, pressed, act) => {
    const element = make("button", { type: "button", "aria-pressed": String(pressed) }, label);
    element.addEventListener("click", () => act(element));
    return element;
  };
  const press = (group, chosen) => group.forEach((element) => element.setAttribute("aria-pressed", String(element === chosen)));
  const filters = [null, ...new Set(tiles.map((tile) => tile.data.game))].map((game, i, all) => {
    const number = tiles.filter((tile) => game === null || tile.data.game === game).length;
    return pick(`${game === null ? (all.length === 2 ? "All" : "All games") : game} (${number})`, game === null, (element) => {
      press(filters, element);
      for (const tile of tiles) tile.element.hidden = game !== null && tile.data.game !== game;
      repaint();
    });
  });
  const rates = [1, 0.5, 0.2].map((value) => pick(`${value}x`, value === 1, (element) => {
    press(rates, element);
    page.rate = value;
    tiles.forEach((tile) => tile.apply());
  }));
  const playAll = make("button", { type: "button" }, page.paused ? "Play all" : "Pause all");
  playAll.addEventListener("click", () => {
    page.paused = !page.paused;
    playAll.textContent = page.paused ? "Play all" : "Pause all";
    tiles.forEach((tile) => tile.setWanted(!page.paused));
  });
  bar.append(...filters, make("span", { class: "gap" }), ...rates, playAll);

  const repaint = () => tiles.forEach((tile) => tile.paint());
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.target.tile.setVisible(entry.isIntersecting);
  }, { rootMargin: "100px" });
  tiles.forEach((tile) => watcher.observe(tile.element));
  addEventListener("resize", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  repaint();
})();
