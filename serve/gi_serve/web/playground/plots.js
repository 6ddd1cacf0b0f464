// The three drawings of the viewer, each from plain arrays onto one canvas; colours are the theme's.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A canvas as sharp as the screen, cleared; null while it has no size. */
function sheet(canvas) {
  const { width, height } = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  if (!width || !height) return null;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

/** Lanes of what was held. ticks: arrays of control names, oldest first; lanes: [name, label]. */
export function drawRoll(canvas, ticks, lanes, length) {
  const on = sheet(canvas);
  if (!on) return;
  const { context, width, height } = on, label = 74, lane = Math.min(22, height / Math.max(lanes.length, 1)), step = (width - label) / length;
  context.font = "600 11px ui-monospace, monospace";
  context.textBaseline = "middle";
  lanes.forEach(([name, shown], row) => {
    const top = row * lane, isHeld = ticks.at(-1)?.includes(name);
    context.fillStyle = isHeld ? colour("--accent") : colour("--faint");
    context.fillText(shown, 6, top + lane / 2, label - 10);
    context.fillStyle = colour("--accent");
    ticks.forEach((held, t) => {
      if (held.includes(name)) context.fillRect(label + (length - ticks.length + t) * step, top + 3, step + 0.5, lane - 6);
    });
  });
}

/** The path that the mouse took. motions: [dx, dy] a tick, oldest first; the newest ends in the middle. */
export function drawPad(canvas, motions) {
  const on = sheet(canvas);
  if (!on) return;
  const { context, width, height } = on, path = [[0, 0]];
  for (const [dx, dy] of [...motions].reverse()) path.push([path.at(-1)[0] - dx, path.at(-1)[1] - dy]);
  const reach = Math.max(40, ...path.flat().map(Math.abs)), scale = Math.min(width, height) / 2 / reach * 0.9;
  const at = ([x, y]) => [width / 2 + x * scale, height / 2 + y * scale];
  context.strokeStyle = colour("--line");
  context.strokeRect(width / 2, 0, 0.01, height);
  context.strokeRect(0, height / 2, width, 0.01);
  context.lineWidth = 2;
  path.slice(1).forEach((point, i) => {
    context.globalAlpha = 1 - i / path.length;
    context.strokeStyle = colour("--warm");
    context.beginPath();
    context.moveTo(...at(path[i]));
    context.lineTo(...at(point));
    context.stroke();
  });
  context.globalAlpha = 1;
  context.fillStyle = colour("--warm");
  context.beginPath();
  context.arc(width / 2, height / 2, 4, 0, 7);
  context.fill();
}

/** answers: {ageMs, isLate, numDropped}, oldest first; deadlineMs: where late begins. */
export function drawLatency(canvas, answers, deadlineMs, length) {
  const on = sheet(canvas);
  if (!on) return;
  const { context, width, height } = on, most = Math.max(deadlineMs * 1.25, ...answers.map((each) => each.ageMs)) || 1;
  const x = (i) => ((length - answers.length + i + 0.5) / length) * width, y = (ms) => height - 14 - (ms / most) * (height - 20);
  context.strokeStyle = colour("--faint");
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(0, y(deadlineMs));
  context.lineTo(width, y(deadlineMs));
  context.stroke();
  context.setLineDash([]);
  context.strokeStyle = colour("--accent");
  context.lineWidth = 1.5;
  context.beginPath();
  answers.forEach((each, i) => context.lineTo(x(i), y(each.ageMs)));
  context.stroke();
  answers.forEach((each, i) => {
    if (each.isLate) {
      context.fillStyle = colour("--warm");
      context.beginPath();
      context.arc(x(i), y(each.ageMs), 3, 0, 7);
      context.fill();
    }
    context.fillStyle = colour("--bad");
    if (each.numDropped) context.fillRect(x(i) - 1, height - Math.min(12, 3 + 3 * each.numDropped), 2, 12);
  });
  context.fillStyle = colour("--faint");
  context.font = "11px system-ui, sans-serif";
  context.fillText(`${most.toFixed(0)} ms`, 4, 12);
}
