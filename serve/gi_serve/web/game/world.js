// The game without a screen: an arena, drones that fly about, and a player who hunts them, in steps of 1/60 s.
//
// Everything follows from the seed and the inputs of each step, so a play can be repeated to the bit. Nothing here
// touches the page. Rejected: steps as long as a frame took (another machine, another game).

import { randomOf } from "./random.js";

export const STEPS_A_SECOND = 60;
export const SECONDS = 60;
export const SIZE = 22; // the arena's side, in cells
export const DEGREES_A_COUNT = 0.2;
const DT = 1 / STEPS_A_SECOND;
const SPEED = 3.2; // cells a second
const RADIUS = 0.28;
const NUM_DRONES = 7;
const DRONE_SPEED = 1.1;
const DRONE_RADIUS = 0.38;
const COOLDOWN = 18; // steps between shots
const RESPAWN = 45;
const NUM_BLOCKS = 26;

export class World {
  constructor(seed = 0, seconds = SECONDS) {
    this.seed = seed;
    this.seconds = seconds;
    this.random = randomOf(seed);
    this.cells = drawArena(this.random);
    this.step = 0;
    this.score = 0;
    this.shots = 0;
    this.cooldown = 0;
    this.recoil = 0; // 1 just after a shot, then fading: for the eye only
    this.walked = 0;
    this.bursts = []; // where drones were hit: {x, y, age}
    this.player = { ...this.freeSpot(SIZE / 2, SIZE / 2, 0, 4), angle: this.random() * 2 * Math.PI };
    this.drones = Array.from({ length: NUM_DRONES }, () => this.newDrone());
  }

  get isOver() {
    return this.step >= this.seconds * STEPS_A_SECOND;
  }

  get secondsLeft() {
    return Math.max(0, this.seconds - this.step * DT);
  }

  /** Whether there is a wall at a point. */
  isWall(x, y) {
    return this.cells[Math.floor(y) * SIZE + Math.floor(x)] !== 0;
  }

  /** One step. input: {forward, back, left, right, fire: bool, turn: counts of the mouse}. */
  advance(input) {
    if (this.isOver) return;
    this.step += 1;
    this.turn(input.turn);
    this.walk(input);
    this.cooldown = Math.max(0, this.cooldown - 1);
    this.recoil = Math.max(0, this.recoil - 0.09);
    if (input.fire && !this.cooldown) this.shoot();
    for (const drone of this.drones) this.fly(drone);
    for (const burst of this.bursts) burst.age += DT;
    this.bursts = this.bursts.filter((burst) => burst.age < 0.5);
  }

  turn(counts) {
    const full = 2 * Math.PI;
    this.player.angle = (((this.player.angle + (counts * DEGREES_A_COUNT * Math.PI) / 180) % full) + full) % full;
  }

  walk({ forward, back, left, right }) {
    const ahead = Number(forward) - Number(back), aside = Number(right) - Number(left);
    if (!ahead && !aside) return;
    const { angle } = this.player, scale = (SPEED * DT) / Math.hypot(ahead, aside);
    this.walked += SPEED * DT;
    this.push((Math.cos(angle) * ahead - Math.sin(angle) * aside) * scale, 0);
    this.push(0, (Math.sin(angle) * ahead + Math.cos(angle) * aside) * scale);
  }

  /** Move the player unless a wall is in the way; one axis at a time, so that walls are slid along. */
  push(dx, dy) {
    const { player } = this, x = player.x + dx, y = player.y + dy;
    const corners = [[-1, -1], [-1, 1], [1, -1], [1, 1]];
    if (corners.some(([sx, sy]) => this.isWall(x + sx * RADIUS, y + sy * RADIUS))) return;
    player.x = x;
    player.y = y;
  }

  shoot() {
    this.shots += 1;
    this.cooldown = COOLDOWN;
    this.recoil = 1;
    const target = this.aimedAt();
    if (target) this.hit(target);
  }

  /** The nearest drone under the crosshair that no wall hides, or undefined. */
  aimedAt() {
    const { player } = this, dx = Math.cos(player.angle), dy = Math.sin(player.angle);
    const reach = this.look(player.x, player.y, dx, dy);
    return this.drones
      .filter((drone) => drone.respawn === 0)
      .map((drone) => {
        const x = drone.x - player.x, y = drone.y - player.y;
        return { drone, ahead: x * dx + y * dy, aside: Math.abs(x * dy - y * dx) };
      })
      .filter(({ ahead, aside }) => ahead > 0 && ahead < reach && aside < DRONE_RADIUS)
      .sort((a, b) => a.ahead - b.ahead)[0]?.drone;
  }

  hit(drone) {
    this.score += 1;
    this.bursts.push({ x: drone.x, y: drone.y, age: 0 });
    drone.respawn = RESPAWN;
  }

  fly(drone) {
    if (drone.respawn > 0) {
      drone.respawn -= 1;
      if (drone.respawn === 0) Object.assign(drone, this.newDrone());
      return;
    }
    const dx = drone.toX - drone.x, dy = drone.toY - drone.y, left = Math.hypot(dx, dy);
    const x = drone.x + (dx / left) * DRONE_SPEED * DT, y = drone.y + (dy / left) * DRONE_SPEED * DT;
    if (left < 0.2 || this.isWall(x, y)) Object.assign(drone, this.newGoal());
    else Object.assign(drone, { x, y });
  }

  newDrone() {
    return { ...this.freeSpot(this.player.x, this.player.y, 3, 8), ...this.newGoal(), respawn: 0 };
  }

  newGoal() {
    const { x, y } = this.freeSpot(this.player.x, this.player.y, 2, 9);
    return { toX: x, toY: y };
  }

  /** The middle of a free cell so far from a point; the rule gives way rather than never end. */
  freeSpot(x, y, near, far) {
    for (let tries = 0; ; tries++) {
      const spot = { x: 1.5 + Math.floor(this.random() * (SIZE - 2)), y: 1.5 + Math.floor(this.random() * (SIZE - 2)) };
      const distance = Math.hypot(spot.x - x, spot.y - y);
      if (!this.isWall(spot.x, spot.y) && ((distance >= near && distance <= far) || tries > 200)) return spot;
    }
  }

  /** How far a ray of direction (dx, dy), of length 1, goes before it meets a wall. */
  look(x, y, dx, dy) {
    return castRay(this.cells, x, y, dx, dy).distance;
  }

  /** Whether the straight line to a point is free of walls. */
  sees(x, y) {
    const { player } = this, distance = Math.hypot(x - player.x, y - player.y);
    return this.look(player.x, player.y, (x - player.x) / distance, (y - player.y) / distance) >= distance;
  }

  /** A short text that differs when two plays do. */
  digest() {
    const facts = [this.step, this.score, this.shots, this.player, this.drones];
    let hash = 2166136261;
    for (const character of JSON.stringify(facts)) hash = Math.imul(hash ^ character.charCodeAt(0), 16777619) >>> 0;
    return hash.toString(16).padStart(8, "0");
  }
}

const HIT = { distance: 0, side: 0, kind: 0, at: 0 };

/** Where a ray meets a wall: its distance, side (0: of x), the kind of wall, and where on it in [0, 1). One object for all. */
export function castRay(cells, x, y, dx, dy) {
  let cellX = Math.floor(x), cellY = Math.floor(y), side = 0;
  const perX = Math.abs(1 / dx), perY = Math.abs(1 / dy), stepX = dx < 0 ? -1 : 1, stepY = dy < 0 ? -1 : 1;
  let nextX = (dx < 0 ? x - cellX : cellX + 1 - x) * perX, nextY = (dy < 0 ? y - cellY : cellY + 1 - y) * perY;
  while (!cells[cellY * SIZE + cellX]) {
    side = nextX < nextY ? 0 : 1;
    if (side === 0) {
      nextX += perX;
      cellX += stepX;
    } else {
      nextY += perY;
      cellY += stepY;
    }
  }
  HIT.distance = side === 0 ? nextX - perX : nextY - perY;
  HIT.side = side;
  HIT.kind = cells[cellY * SIZE + cellX];
  const where = side === 0 ? y + HIT.distance * dy : x + HIT.distance * dx;
  HIT.at = where - Math.floor(where);
  return HIT;
}

/** A walled square with blocks that touch nothing, so that every free cell can be reached. 0: free; else the wall's kind. */
function drawArena(random) {
  const cells = new Uint8Array(SIZE * SIZE);
  for (let i = 0; i < SIZE; i++) cells[i] = cells[(SIZE - 1) * SIZE + i] = cells[i * SIZE] = cells[i * SIZE + SIZE - 1] = 1;
  const isLonely = (x, y) => {
    for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) if (cells[(y + dy) * SIZE + x + dx]) return false;
    return true;
  };
  for (let i = 0; i < NUM_BLOCKS; i++) {
    const x = 2 + Math.floor(random() * (SIZE - 4)), y = 2 + Math.floor(random() * (SIZE - 4));
    const kind = 1 + Math.floor(random() * 3);
    if (isLonely(x, y)) cells[y * SIZE + x] = kind;
  }
  return cells;
}
