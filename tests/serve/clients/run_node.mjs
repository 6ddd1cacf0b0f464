// run_node.mjs EXAMPLE NUM_FRAMES: plays the example with painted frames; a line for all that is pressed.
const { playGame } = await import(process.argv[2]);
const width = 24, height = 16;
let number = 0;

async function grab() {
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (number === Number(process.argv[3])) return null;
  const data = new Uint8Array(width * height * 3);
  for (let at = 0; at < data.length; at += 3) data.set([Math.floor(number / 32) * 8, (number % 32) * 8, 100], at);
  number++;
  return { data, width, height };
}

await playGame(grab, (state) => console.log(["press", ...state.keys].join(" ")));
process.exit(0);
