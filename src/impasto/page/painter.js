// Paints in a worker, as `impasto stylize` does: reflected to the network's multiple, run in float32, cropped.

import { InferenceSession, Tensor, env } from "./onnxruntime/ort.wasm.bundle.min.js";

const LARGEST = 2; // scale of the picture that is painted
const REFERENCE = 2048; // long side at which a smaller picture is thought, see stylize.py

let loading = null; // the style and its network, once
let source = null; // the photo as it was opened
let photo = null; // and at the size that was asked for last

// ---------------------------------------------------------------------------------------------------- the network

async function fetched(address, told) {
  const answer = await fetch(address);
  if (!answer.ok) throw Object.assign(new Error(`${address}: HTTP ${answer.status}`), { code: "not_fetched" });
  const parts = [];
  const reader = answer.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    told(part.value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function load() {
  const about = await (await fetch("style.json")).json();
  const all = about.bytes.runtime + about.bytes.style;
  let done = 0;
  const told = (more) => postMessage({ fetching: Math.min(1, (done += more) / all) });
  const [runtime, style] = await Promise.all([
    fetched("onnxruntime/ort-wasm-simd-threaded.wasm", told),
    fetched("style.onnx", told),
  ]);
  postMessage({ preparing: true });
  env.wasm.wasmBinary = runtime;
  env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  const session = await InferenceSession.create(style, { enableCpuMemArena: false, enableMemPattern: false });
  return { spec: about.spec, session };
}

// Run the network on RGBA pixels; of a palette `rows` are the weights of its rows. What comes back is opaque.
async function run(pixels, { spec, session }, rows) {
  const [width, height] = [pixels.width, pixels.height].map((side) => padded(side, spec));
  const area = width * height;
  const planes = new Float32Array(3 * area);
  const columns = Uint32Array.from({ length: width }, (_, x) => 4 * reflected(x, pixels.width));
  for (let y = 0; y < height; y++) {
    const row = 4 * reflected(y, pixels.height) * pixels.width;
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) planes[c * area + y * width + x] = pixels.data[row + columns[x] + c] / 255;
    }
  }
  const feeds = { image: new Tensor("float32", planes, [1, 3, height, width]) };
  if (rows) feeds.style = new Tensor("float32", rows, [rows.length]);
  const { stylized } = await session.run(feeds);
  const painted = new ImageData(pixels.width, pixels.height);
  for (let y = 0, to = 0; y < pixels.height; y++) {
    for (let x = 0, from = y * width; x < pixels.width; x++, from++, to += 4) {
      for (let c = 0; c < 3; c++) painted.data[to + c] = 255 * stylized.data[c * area + from]; // rounded and clamped
      painted.data[to + 3] = 255;
    }
  }
  stylized.dispose();
  return painted;
}

const padded = (side, { multiple, min_size }) => Math.ceil(Math.max(side, min_size) / multiple) * multiple;

// Place of a pixel beyond the border, as often as need be.
function reflected(place, length) {
  if (length === 1) return 0;
  const inside = place % (2 * length - 2);
  return Math.min(inside, 2 * length - 2 - inside);
}

// --------------------------------------------------------------------------------------------------------- strokes

// Size of the strokes and scale of what is painted for them; see `stroke_size` in stylize.py.
function strokeSize(entries, weights, stroke, longSide) {
  const wanted = stroke * longSide;
  const reach = Math.max(1, REFERENCE / longSide);
  let logarithm = 0;
  for (const { name, strokes } of entries) {
    const nearest = Math.min(Math.max(wanted * reach, Math.min(...strokes)), Math.max(...strokes));
    logarithm += (weights[name] ?? 0) * Math.log(nearest);
  }
  const size = Math.exp(logarithm);
  return [size, Math.min(size / wanted, LARGEST * reach)];
}

// Weights of a palette's rows; see `StyleSpec.mix`.
function mix(entries, weights, strength, size) {
  const rows = [1 - strength];
  for (const entry of entries) {
    const place = placeOf(Math.log(size ?? entry.size), entry.strokes.map(Math.log));
    const share = strength * (weights[entry.name] ?? 0);
    rows.push(...entry.strokes.map((_, i) => share * Math.max(0, 1 - Math.abs(i - place))));
  }
  return Float32Array.from(rows);
}

function placeOf(value, steps) {
  const after = steps.findIndex((step) => step >= value);
  if (after < 0) return steps.length - 1;
  return after === 0 ? 0 : after - 1 + (value - steps[after - 1]) / (steps[after] - steps[after - 1]);
}

// --------------------------------------------------------------------------------------------------------- pixels

// Weights of Lanczos' filter of 3 for each pixel of a side that becomes another, with the first one they are for.
function taps(from, to) {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  const kernel = (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - 3 * stretch + 0.5));
    const last = Math.min(from, Math.floor(center + 3 * stretch + 0.5));
    const weights = Float32Array.from({ length: last - first }, (_, k) => kernel((first + k - center + 0.5) / stretch));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return [first, weights.map((weight) => weight / total)];
  });
}

// RGBA pixels at another size, by Lanczos' filter as everywhere in Impasto.
function resize(pixels, width, height) {
  if (width === pixels.width && height === pixels.height) return pixels;
  const narrow = new ImageData(width, pixels.height);
  along(pixels.data, narrow.data, taps(pixels.width, width), 4, [pixels.height, 4 * pixels.width, 4 * width]);
  const made = new ImageData(width, height);
  along(narrow.data, made.data, taps(pixels.height, height), 4 * width, [width, 4, 4]);
  return made;
}

// Filter every line of pixels; `step` is between the pixels of a line, and lines are that many, so far apart in each.
function along(from, to, filters, step, [lines, apart, apartAfter]) {
  filters.forEach(([first, weights], i) => {
    for (let line = 0; line < lines; line++) {
      const [start, end] = [line * apart + first * step, line * apartAfter + i * step];
      for (let c = 0; c < 4; c++) {
        let sum = 0;
        for (let k = 0, at = start + c; k < weights.length; k++, at += step) sum += weights[k] * from[at];
        to[end + c] = sum;
      }
    }
  });
}

// ------------------------------------------------------------------------------------------------------- painting

async function paint({ size: [width, height], most, weights, strength, stroke }) {
  if (photo?.width !== width || photo?.height !== height) photo = resize(source, width, height);
  if (strength === 0) return photo;
  const style = await (loading ??= load());
  const { entries } = style.spec;
  const isPalette = entries[0].strokes.length > 0;
  postMessage({ painting: true });
  const asked = isPalette && stroke !== null ? strokeSize(entries, weights, stroke, Math.max(width, height)) : [null, 1];
  const [strokes, scale] = [asked[0], Math.min(asked[1], Math.sqrt(most / (width * height)))];
  const canvas = [width, height].map((length) => Math.max(1, Math.round(length * scale)));
  const small = resize(photo, ...canvas);
  const painted = resize(await run(small, style, isPalette ? mix(entries, weights, strength, strokes) : null), width, height);
  const lost = isPalette && scale !== 1 && strength < 1 ? [1 - strength, resize(small, width, height).data] : null;
  finish(painted.data, isPalette ? null : strength, lost);
  return painted;
}

// Mix the painting with the photo; or give it back what the photo's share has lost on another canvas; and its alpha.
function finish(painted, strength, lost) {
  for (let i = 0; i < painted.length; i += 4) {
    for (let c = i; c < i + 3; c++) {
      if (strength !== null) painted[c] = photo.data[c] + strength * (painted[c] - photo.data[c]);
      else if (lost) painted[c] += lost[0] * (photo.data[c] - lost[1][c]);
    }
    painted[i + 3] = photo.data[i + 3];
  }
}

function pixelsOf(bitmap) {
  const drawing = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  drawing.drawImage(bitmap, 0, 0);
  const pixels = drawing.getImageData(0, 0, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}

onmessage = async ({ data }) => {
  try {
    if (data.bitmap) [source, photo] = [pixelsOf(data.bitmap), null];
    const painted = await paint(data);
    const { width, height } = painted;
    postMessage({ painted: await createImageBitmap(painted), photo: await createImageBitmap(photo), width, height });
  } catch (error) {
    const code = error.code === "not_fetched" ? "not_fetched" : "memory";
    postMessage({ failed: { code, message: String(error.message ?? error) } });
  }
};
