// What the arena is made of, painted by the page itself: no picture is loaded.

import { randomOf } from "./random.js";

export const TEXTURE = 64; // pixels a side
export const SHADES = 24; // of darkness, from near to far
export const SKY = { width: 1600, height: 120 };
const FOG = [16, 19, 34];

const sketch = (width, height, paint) => {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  paint(canvas.getContext("2d", { willReadFrequently: true }));
  return canvas;
};

const pixelsOf = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;

/** A texture in every shade: Uint32Array (SHADES, TEXTURE * TEXTURE) of ABGR, so that drawing only looks up. */
function shaded(canvas) {
  const rgba = pixelsOf(canvas);
  return Array.from({ length: SHADES }, (_, shade) => {
    const light = Math.exp(-shade / 10), out = new Uint32Array(TEXTURE * TEXTURE);
    for (let i = 0; i < out.length; i++) {
      const [r, g, b] = [0, 1, 2].map((c) => Math.round(rgba[4 * i + c] * light + FOG[c] * (1 - light)));
      out[i] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    return out;
  });
}

/** Specks over a picture, so that it looks like stuff. */
function grain(context, random, strength) {
  const image = context.getImageData(0, 0, TEXTURE, TEXTURE);
  for (let i = 0; i < image.data.length; i += 4) {
    const speck = (random() - 0.5) * strength;
    for (let c = 0; c < 3; c++) image.data[i + c] += speck;
  }
  context.putImageData(image, 0, 0);
}

function paintBricks(context) {
  const random = randomOf(7);
  context.fillStyle = "#3b3446";
  context.fillRect(0, 0, TEXTURE, TEXTURE);
  for (let row = 0; row < 8; row++)
    for (let column = -1; column < 4; column++) {
      const x = column * 16 + (row % 2) * 8, warmth = random() * 26;
      context.fillStyle = `rgb(${128 + warmth}, ${92 + warmth * 0.7}, ${98 + warmth * 0.4})`;
      context.fillRect(x + 1, row * 8 + 1, 14, 6);
      context.fillStyle = "#ffffff26";
      context.fillRect(x + 1, row * 8 + 1, 14, 1);
      context.fillStyle = "#00000040";
      context.fillRect(x + 1, row * 8 + 6, 14, 1);
    }
  grain(context, random, 20);
}

function paintPanels(context) {
  const random = randomOf(11);
  context.fillStyle = "#5d6b80";
  context.fillRect(0, 0, TEXTURE, TEXTURE);
  for (const [x, y] of [[0, 0], [32, 0], [0, 32], [32, 32]]) {
    context.fillStyle = "#7285a0";
    context.fillRect(x + 2, y + 2, 28, 28);
    context.fillStyle = "#8b9fbb";
    context.fillRect(x + 2, y + 2, 28, 2);
    context.fillStyle = "#39445a";
    for (const [dx, dy] of [[5, 6], [25, 6], [5, 26], [25, 26]]) context.fillRect(x + dx, y + dy, 2, 2);
  }
  context.fillStyle = "#1c2636";
  context.fillRect(0, 29, TEXTURE, 6);
  context.fillStyle = "#57e0d0";
  context.fillRect(0, 31, TEXTURE, 2);
  grain(context, random, 14);
}

function paintHedge(context) {
  const random = randomOf(13);
  context.fillStyle = "#1d3a2c";
  context.fillRect(0, 0, TEXTURE, TEXTURE);
  for (let leaf = 0; leaf < 520; leaf++) {
    const light = random();
    context.fillStyle = `rgb(${28 + 60 * light}, ${80 + 90 * light}, ${50 + 38 * light})`;
    context.fillRect(Math.floor(random() * TEXTURE), Math.floor(random() * TEXTURE), 3, 2);
  }
  grain(context, random, 12);
}

function paintFloor(context) {
  const random = randomOf(17);
  for (const [x, y, colour] of [[0, 0, "#3d4257"], [32, 0, "#454b62"], [0, 32, "#434960"], [32, 32, "#3a3f54"]]) {
    context.fillStyle = colour;
    context.fillRect(x, y, 32, 32);
    context.fillStyle = "#ffffff1c";
    context.fillRect(x, y, 32, 1);
    context.fillStyle = "#00000055";
    context.fillRect(x, y + 31, 32, 1);
    context.fillRect(x + 31, y, 1, 32);
  }
  grain(context, random, 14);
}

/** The night above: Uint32Array of SKY, once around. */
function paintSky() {
  const random = randomOf(19);
  const canvas = sketch(SKY.width, SKY.height, (context) => {
    const dusk = context.createLinearGradient(0, 0, 0, SKY.height);
    for (const [at, colour] of [[0, "#0a0f24"], [0.55, "#1d2450"], [0.85, "#5b3a68"], [1, "#a65a5f"]]) dusk.addColorStop(at, colour);
    context.fillStyle = dusk;
    context.fillRect(0, 0, SKY.width, SKY.height);
    for (let star = 0; star < 380; star++) {
      const y = random() ** 1.6 * SKY.height * 0.85;
      context.fillStyle = `rgba(255, 250, 235, ${0.25 + 0.75 * random()})`;
      context.fillRect(Math.floor(random() * SKY.width), Math.floor(y), random() < 0.12 ? 2 : 1, 1);
    }
    context.fillStyle = "#f4ead2";
    context.beginPath(); // a crescent: a half circle, and back along a flatter one
    context.arc(430, 38, 11, -0.5 * Math.PI, 0.5 * Math.PI);
    context.ellipse(430, 38, 6, 11, 0, 0.5 * Math.PI, -0.5 * Math.PI, true);
    context.fill();
    for (const [base, height, colour] of [[84, 20, "#2b2449"], [98, 13, "#1b1a36"]]) {
      const phase = random() * 9;
      context.fillStyle = colour;
      for (let x = 0; x < SKY.width; x++) {
        const turn = (x / SKY.width) * 2 * Math.PI; // whole waves, so that the ends meet
        const ridge = Math.sin(turn * 5 + phase) + 0.6 * Math.sin(turn * 13 + 2 * phase) + 0.3 * Math.sin(turn * 31);
        context.fillRect(x, base - ridge * height * 0.45, 1, SKY.height);
      }
    }
  });
  return new Uint32Array(pixelsOf(canvas).buffer);
}

function paintDrone(context) {
  const middle = TEXTURE / 2;
  const halo = context.createRadialGradient(middle, middle, 8, middle, middle, 31);
  halo.addColorStop(0, "rgba(255, 150, 60, 0.55)");
  halo.addColorStop(1, "rgba(255, 120, 40, 0)");
  context.fillStyle = halo;
  context.fillRect(0, 0, TEXTURE, TEXTURE);
  context.fillStyle = "#c2410c";
  for (const side of [-1, 1]) {
    context.beginPath();
    context.moveTo(middle + side * 14, middle - 4);
    context.lineTo(middle + side * 29, middle - 14);
    context.lineTo(middle + side * 26, middle + 3);
    context.lineTo(middle + side * 15, middle + 7);
    context.fill();
  }
  const body = context.createRadialGradient(middle - 6, middle - 8, 2, middle, middle, 18);
  for (const [at, colour] of [[0, "#ffe3b8"], [0.45, "#ff9a3d"], [1, "#b4360a"]]) body.addColorStop(at, colour);
  context.fillStyle = body;
  context.beginPath();
  context.arc(middle, middle, 17, 0, 7);
  context.fill();
  context.fillStyle = "#2a0f08";
  context.beginPath();
  context.ellipse(middle, middle + 1, 10, 6, 0, 0, 7);
  context.fill();
  context.fillStyle = "#fff6c9";
  context.beginPath();
  context.arc(middle, middle + 1, 3.6, 0, 7);
  context.fill();
}

function paintBurst(context) {
  const middle = TEXTURE / 2;
  const glow = context.createRadialGradient(middle, middle, 0, middle, middle, 31);
  for (const [at, colour] of [[0, "rgba(255,255,235,1)"], [0.25, "rgba(255,214,110,.95)"], [0.6, "rgba(240,100,40,.5)"], [1, "rgba(240,80,30,0)"]])
    glow.addColorStop(at, colour);
  context.fillStyle = glow;
  context.fillRect(0, 0, TEXTURE, TEXTURE);
}

function paintWeapon(context) {
  const steel = context.createLinearGradient(0, 0, 96, 0);
  for (const [at, colour] of [[0, "#20283a"], [0.4, "#66789a"], [0.55, "#9fb2cf"], [1, "#1c2333"]]) steel.addColorStop(at, colour);
  context.fillStyle = steel;
  context.beginPath();
  context.moveTo(36, 4);
  context.lineTo(60, 4);
  context.lineTo(74, 84);
  context.lineTo(22, 84);
  context.fill();
  context.fillStyle = "#121826";
  context.fillRect(40, 0, 16, 10);
  context.fillStyle = "#57e0d0";
  context.fillRect(45, 22, 6, 34);
  context.fillStyle = "#c8fff6";
  context.fillRect(47, 22, 2, 34);
}

/** Everything the renderer draws with. */
export function paintAll() {
  const tile = (paint) => shaded(sketch(TEXTURE, TEXTURE, paint));
  const sprite = (paint) => pixelsOf(sketch(TEXTURE, TEXTURE, paint));
  const bricks = tile(paintBricks);
  return {
    walls: [bricks, bricks, tile(paintPanels), tile(paintHedge)], // by kind of wall; 0 is no wall
    floor: tile(paintFloor),
    sky: paintSky(),
    drone: sprite(paintDrone),
    burst: sprite(paintBurst),
    weapon: sketch(96, 84, paintWeapon),
  };
}
