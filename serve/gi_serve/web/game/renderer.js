// World -> pixels: a ray a column for walls, a row at a time for the floor, sprites behind what is nearer.
//
// Plain 2D canvas, so that it looks the same with and without a graphics card, and pixels can be read at once.

import { STEPS_A_SECOND, castRay } from "./world.js";
import { SHADES, SKY, TEXTURE, paintAll } from "./textures.js";

export const WIDTH = 320, HEIGHT = 240;
const HALF_VIEW = 0.72; // tangent of half the angle of view
const HORIZON = HEIGHT / 2;
const FOCAL = WIDTH / 2 / HALF_VIEW; // pixels at distance 1
const SHADES_A_CELL = 1.35;

const shadeOf = (distance) => Math.min(SHADES - 1, Math.floor(distance * SHADES_A_CELL));

export class Renderer {
  constructor(canvas) {
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    this.image = this.context.createImageData(WIDTH, HEIGHT);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.depth = new Float32Array(WIDTH);
    this.art = paintAll();
  }

  /** Draw `world` as its player sees it. */
  draw(world) {
    const { x, y, angle } = world.player, eye = { x, y, dx: Math.cos(angle), dy: Math.sin(angle), angle };
    this.drawSky(eye);
    this.drawFloor(eye);
    this.drawWalls(world.cells, eye);
    this.drawSprites(world, eye);
    this.context.putImageData(this.image, 0, 0);
    this.drawWeapon(world);
  }

  drawSky({ angle }) {
    const { sky } = this.art;
    for (let column = 0; column < WIDTH; column++) {
      const turn = angle + Math.atan(((column + 0.5) / WIDTH) * 2 * HALF_VIEW - HALF_VIEW);
      const from = (Math.floor((turn / (2 * Math.PI)) * SKY.width) + SKY.width) % SKY.width;
      for (let row = 0; row < HORIZON; row++)
        this.pixels[row * WIDTH + column] = sky[Math.floor((row * SKY.height) / HORIZON) * SKY.width + from];
    }
  }

  drawFloor({ x, y, dx, dy }) {
    const { floor } = this.art, mask = TEXTURE - 1;
    for (let row = HORIZON; row < HEIGHT; row++) {
      const distance = (0.5 * FOCAL) / (row - HORIZON + 0.5), shade = floor[shadeOf(distance)];
      const stepX = ((-dy * HALF_VIEW * 2) / WIDTH) * distance * TEXTURE, stepY = ((dx * HALF_VIEW * 2) / WIDTH) * distance * TEXTURE;
      let u = (x + (dx + dy * HALF_VIEW) * distance) * TEXTURE, v = (y + (dy - dx * HALF_VIEW) * distance) * TEXTURE;
      for (let at = row * WIDTH, end = at + WIDTH; at < end; at++) {
        this.pixels[at] = shade[((v & mask) * TEXTURE) | (u & mask)];
        u += stepX;
        v += stepY;
      }
    }
  }

  drawWalls(cells, { x, y, dx, dy }) {
    for (let column = 0; column < WIDTH; column++) {
      const aside = ((column + 0.5) / WIDTH) * 2 * HALF_VIEW - HALF_VIEW;
      const hit = castRay(cells, x, y, dx - dy * aside, dy + dx * aside); // the ray's length along the view is 1
      this.depth[column] = hit.distance;
      this.drawColumn(column, hit);
    }
  }

  drawColumn(column, { distance, side, kind, at }) {
    const height = FOCAL / distance, top = HORIZON - height / 2, perPixel = TEXTURE / height;
    const from = Math.max(0, Math.ceil(top)), to = Math.min(HEIGHT, Math.ceil(top + height));
    const shade = this.art.walls[kind][Math.min(SHADES - 1, shadeOf(distance) + 3 * side)];
    const u = Math.floor(at * TEXTURE);
    let v = (from - top) * perPixel;
    for (let row = from; row < to; row++) {
      this.pixels[row * WIDTH + column] = shade[Math.min(TEXTURE - 1, v | 0) * TEXTURE + u];
      v += perPixel;
    }
  }

  drawSprites(world, eye) {
    const { drone, burst } = this.art, time = world.step / STEPS_A_SECOND;
    const sprites = world.drones
      .filter((each) => each.respawn === 0)
      .map((each, i) => ({ x: each.x, y: each.y, art: drone, size: 0.8, lift: 0.06 * Math.sin(time * 3 + i * 2), fade: 1 }));
    for (const { x, y, age } of world.bursts) sprites.push({ x, y, art: burst, size: 0.7 + 2.4 * age, lift: 0, fade: 1 - age / 0.5 });
    for (const sprite of sprites) {
      sprite.ahead = (sprite.x - eye.x) * eye.dx + (sprite.y - eye.y) * eye.dy;
      sprite.aside = -(sprite.x - eye.x) * eye.dy + (sprite.y - eye.y) * eye.dx;
    }
    for (const sprite of sprites.sort((a, b) => b.ahead - a.ahead)) if (sprite.ahead > 0.2) this.drawSprite(sprite);
  }

  drawSprite({ art, ahead, aside, size, lift, fade }) {
    const side = (FOCAL / ahead) * size, left = WIDTH / 2 + (aside / ahead) * FOCAL - side / 2;
    const top = HORIZON - (FOCAL / ahead) * lift - side / 2, perPixel = TEXTURE / side;
    const light = Math.max(0.45, Math.exp(-shadeOf(ahead) / 16)); // drones glow: they stay brighter than walls
    for (let column = Math.max(0, Math.ceil(left)); column < Math.min(WIDTH, left + side); column++) {
      if (this.depth[column] < ahead) continue;
      const u = Math.min(TEXTURE - 1, Math.floor((column - left) * perPixel));
      for (let row = Math.max(0, Math.ceil(top)); row < Math.min(HEIGHT, top + side); row++) {
        const at = 4 * (Math.min(TEXTURE - 1, Math.floor((row - top) * perPixel)) * TEXTURE + u);
        this.blend(4 * (row * WIDTH + column), art, at, (art[at + 3] / 255) * fade, light);
      }
    }
  }

  blend(to, art, from, cover, light) {
    if (cover < 0.02) return;
    const { data } = this.image;
    for (let c = 0; c < 3; c++) data[to + c] += (art[from + c] * light - data[to + c]) * cover;
  }

  drawWeapon({ recoil, walked }) {
    const { context } = this, sway = Math.sin(walked * 2.2) * 4, kick = recoil * 16;
    if (recoil > 0.55) {
      const flash = context.createRadialGradient(WIDTH / 2 + sway, HEIGHT - 62, 2, WIDTH / 2 + sway, HEIGHT - 62, 46);
      flash.addColorStop(0, "rgba(230, 255, 250, 0.95)");
      flash.addColorStop(1, "rgba(87, 224, 208, 0)");
      context.fillStyle = flash;
      context.fillRect(0, HEIGHT - 120, WIDTH, 120);
    }
    context.drawImage(this.art.weapon, WIDTH / 2 - 48 + sway, HEIGHT - 60 + kick + Math.abs(sway));
    context.fillStyle = "#eafffb";
    for (const [x, y, width, height] of [[-7, -1, 4, 2], [3, -1, 4, 2], [-1, -7, 2, 4], [-1, 3, 2, 4]])
      context.fillRect(WIDTH / 2 + x, HEIGHT / 2 + y, width, height);
  }
}

