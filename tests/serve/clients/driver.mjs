// What the tests run: driver URL NUM_FRAMES PERIOD_MS ON_LATE PATIENCE_S RESUME_S RESET_AT; a line for all that happens.
import { readFileSync, writeSync } from "node:fs";
import { MOUSE_BUTTONS, Session, resize } from "../../../serve/clients/js/gi-client.js";

const [url, numFrames, periodMs, onLate, patienceS, resumeS, resetAt] = process.argv.slice(2);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

if (url === "resize") { // WIDTH HEIGHT TO_WIDTH TO_HEIGHT: RGB on stdin, RGB on stdout
  const rgb = readFileSync(0), [width, height, toWidth, toHeight] = process.argv.slice(3).map(Number);
  const rgba = Uint8Array.from({ length: width * height * 4 }, (_, at) => (at % 4 === 3 ? 255 : rgb[(at >> 2) * 3 + (at % 4)]));
  writeSync(1, resize(rgba, width, height, toWidth, toHeight));
  process.exit(0);
}

const session = new Session(url, {
  seed: 1, onLate, patienceMs: patienceS * 1000, resumeMs: resumeS * 1000,
  onStatus: (kind, words) => console.log(`status ${kind}: ${words}`),
  onAction: ({ seq, states: [{ motion, wheel, buttons, gamepad, keys, commands }], isLate }) => {
    const mask = buttons.reduce((sum, name) => sum + (1 << MOUSE_BUTTONS.indexOf(name)), 0);
    const pad = gamepad ?? { buttons: 0, axes: [0, 0, 0, 0], triggers: [0, 0] };
    console.log(["action", seq, ...motion, wheel[0], +isLate, wheel[1], mask, pad.buttons, ...pad.axes, ...pad.triggers, ...keys, ...commands.map((each) => `=${each}`)].join(" "));
    if (seq % 5 === 0) session.execute({ keys: ["KeyE"] }); // a person held that
  },
});
try {
  await session.open();
} catch (error) {
  console.log(`error ${error.message}`);
  process.exit(3);
}
const [height, width] = session.model.observation_space.shape;
const hold = () => {
  const state = session.due();
  if (state) console.log(["hold", ...state.keys, ...state.motion].join(" "));
};
for (let number = 0; number < numFrames && !session.isClosed && !session.isStopped; number++) {
  if (number === Number(resetAt)) session.reset(2);
  const data = new Uint8Array(width * height * 3);
  for (let at = 0; at < data.length; at += 3) data.set([(Math.floor(number / 32) % 31) * 8, (number % 32) * 8, 100], at);
  session.send({ data, width, height });
  for (const end = performance.now() + Number(periodMs); performance.now() < end; await wait(2)) hold();
}
session.close();
hold();
const { sent, answered, dropped, late, lost, resumed } = session.counts;
console.log(`counts ${sent} ${answered} ${dropped} ${late} ${lost} ${resumed}`);
process.exit(0);
