/** Frames of a canvas, a video, or a tab; at the model's size by the one resize of gi_model.frames, bit for bit. */

/** RGBA bytes (height, width, 4) to RGB bytes (toHeight, toWidth, 3): the exact area average in whole numbers. */
export function resize(rgba, width, height, toWidth, toHeight) {
  const down = bands(height, toHeight), across = bands(width, toWidth), area = down.step * across.step;
  const out = new Uint8Array(toWidth * toHeight * 3), half = Math.floor(area / 2), sums = new Float64Array(width * 4);
  for (let y = 0, at = 0; y < toHeight; y++) {
    sums.fill(0);
    for (const [row, weight] of down.of[y]) {
      for (let i = 0, from = row * width * 4; i < width * 4; i++, from++) sums[i] += weight * rgba[from];
    }
    for (let x = 0; x < toWidth; x++) {
      let r = half, g = half, b = half;
      for (const [column, weight] of across.of[x]) {
        r += weight * sums[column * 4]; g += weight * sums[column * 4 + 1]; b += weight * sums[column * 4 + 2];
      }
      out[at++] = Math.floor(r / area); out[at++] = Math.floor(g / area); out[at++] = Math.floor(b / area);
    }
  }
  return out;
}

const known = new Map();

/** For each output pixel its [input, weight] pairs; the weights sum to `step`. */
function bands(from, to) {
  const name = `${from} ${to}`;
  if (!known.has(name)) {
    let divisor = from;
    for (let rest = to; rest; ) [divisor, rest] = [rest, divisor % rest];
    const step = from / divisor, unit = to / divisor, of = [];
    for (let i = 0; i < to; i++) {
      const begin = i * step, end = begin + step, pairs = [];
      for (let j = Math.floor(begin / unit); j * unit < end; j++) pairs.push([j, Math.min(end, (j + 1) * unit) - Math.max(begin, j * unit)]);
      of.push(pairs);
    }
    known.set(name, { of, step });
  }
  return known.get(name);
}

/** Looks at a canvas or a video element; `Camera.ofTab()` at what a person agrees to share. codec: "raw" or "jpeg". */
export class Camera {
  constructor(source, { codec = "raw", quality = 0.9 } = {}) {
    this.source = source; this.codec = codec; this.quality = quality;
    this.surface = new OffscreenCanvas(1, 1);
  }

  /** Ask the person for a tab, window, or screen (needs a click). Throws if they refuse. */
  static async ofTab(options) {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: false, preferCurrentTab: true });
    const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true });
    stream.getVideoTracks()[0].onended = () => video.dispatchEvent(new Event("ended"));
    await video.play();
    return new Camera(video, options);
  }

  /** The picture as it is now, as `Session.send` wants it; raw at (width, height), a JPEG at its own size. Null: none yet. */
  async grab(width, height) {
    const fromWidth = this.source.videoWidth ?? this.source.width, fromHeight = this.source.videoHeight ?? this.source.height;
    if (!fromWidth || !fromHeight) return null;
    if (this.surface.width !== fromWidth || this.surface.height !== fromHeight) Object.assign(this.surface, { width: fromWidth, height: fromHeight });
    const context = this.surface.getContext("2d", { willReadFrequently: true, alpha: false });
    context.drawImage(this.source, 0, 0);
    if (this.codec === "jpeg") {
      const blob = await this.surface.convertToBlob({ type: "image/jpeg", quality: this.quality });
      return { codec: "jpeg", data: new Uint8Array(await blob.arrayBuffer()) };
    }
    const { data } = context.getImageData(0, 0, fromWidth, fromHeight);
    return { codec: "raw", width, height, data: resize(data, fromWidth, fromHeight, width, height) };
  }
}
