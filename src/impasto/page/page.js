// The page: a photo is chosen, a worker paints it, the painting is shown and saved. Nothing leaves the browser.

import { duration, say, sayError, setLanguage, styleName } from "./text.js";

const MOST = 12e6; // pixels that are painted at most, in one piece: some 1 GB for a palette, and minutes
const $ = (id) => document.getElementById(id);
const state = { stroke: null, name: "" };
let choices = []; // what the page offers: name, title, weights of the file's styles, recommended strength
let painter = null;
let opened = null; // the photo's file
let whole = null; // its width and height
let bitmap = null; // the photo, where the worker does not have it yet
let opening = 0; // photos that are being decoded
let count = 0; // of photos that were chosen: of several on their way, the last one is shown
let asked = null; // when the painting that is made was asked for
let again = false; // whether something was moved since
let shown = null; // painting and photo at the size that was painted
let told = null; // what is said of the work, to be said again in another language
let pace = null; // seconds a pixel of the last painting

// ------------------------------------------------------------------------------------------------------- the worker

function hire() {
  const painter = new Worker("painter.js", { type: "module" });
  painter.onmessage = ({ data }) => {
    if (data.fetching) tell("fetching", { percent: Math.round(100 * data.fetching) });
    if (data.preparing) tell("preparing");
    if (data.painting) {
      asked = performance.now(); // what was fetched before is no part of the pace
      tell("painting_now");
    }
    if (data.painted) show(data);
    if (data.failed) dismiss(data.failed);
  };
  painter.onerror = () => dismiss({ code: "not_fetched", message: "painter.js, onnxruntime/" });
  return painter;
}

// A worker that failed has memory that it does not give back: another one takes its place, when it is needed.
async function dismiss(error) {
  painter.terminate();
  painter = null;
  bitmap ??= await decoded(opened);
  rest();
  fail(error);
}

// A photo's pixels; of one that is far larger than what is painted, fewer.
async function decoded(file) {
  const read = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.sqrt((4 * MOST) / (read.width * read.height));
  if (scale >= 1) return read;
  const [resizeWidth, resizeHeight] = [read.width, read.height].map((length) => Math.max(1, Math.round(length * scale)));
  const made = await createImageBitmap(read, { resizeWidth, resizeHeight, resizeQuality: "high" });
  read.close();
  return made;
}

function paint() {
  if (!opened) return;
  again = asked !== null;
  if (again) return;
  asked = performance.now();
  $("busy").hidden = false;
  $("alerts").replaceChildren();
  painter ??= hire();
  const { weights } = choice();
  const job = { size: sizeAsked(), most: MOST, weights, strength: Number($("strength").value), stroke: state.stroke };
  painter.postMessage(bitmap ? { ...job, bitmap } : job, bitmap ? [bitmap] : []);
  bitmap = null;
}

function show(made) {
  const seconds = (performance.now() - asked) / 1000;
  if (Number($("strength").value) > 0) pace = seconds / (made.width * made.height);
  shown = { ...made, style: choice(), stem: (opened.name ?? "photo").replace(/\.[^.]*$/, "") };
  $("save").disabled = $("compare").disabled = false;
  tell("painted_in", { seconds });
  draw();
  rest();
  if (again) paint();
}

function rest() {
  asked = null;
  $("busy").hidden = !opening;
  showSize();
}

function draw() {
  const isPhoto = $("compare").getAttribute("aria-pressed") === "true";
  drawOn(isPhoto ? shown.photo : shown.painted, isPhoto ? say("before") : say("your_photo", { style: nameOf(shown.style) }));
}

function drawOn(picture, label) {
  $("welcome").hidden = true;
  $("canvas").hidden = false;
  [$("canvas").width, $("canvas").height] = [picture.width, picture.height];
  $("canvas").getContext("2d").drawImage(picture, 0, 0);
  $("canvas").setAttribute("aria-label", label);
}

// -------------------------------------------------------------------------------------------------------- the words

function tell(key, values = {}) {
  told = [key, values];
  const time = duration(Math.max(1, values.seconds ?? 0));
  $("status").textContent = say(key, { ...values, time });
}

function fail(error) {
  told = null;
  $("status").textContent = "";
  $("alerts").replaceChildren(Object.assign(document.createElement("p"), { textContent: sayError(error) }));
}

const choice = () => choices.find((one) => one.name === state.name) ?? choices[0];
const nameOf = (one) => styleName(one) || one.name;

function showAbout() {
  const { artist, year, rights } = choice();
  $("about").textContent = [[artist, year].filter(Boolean).join(", "), rights].filter(Boolean).join(". ");
  $("title").textContent = choices.length > 1 ? "Impasto" : nameOf(choice());
  document.title = choices.length > 1 ? "Impasto" : `${nameOf(choice())} · Impasto`;
}

function showSliders() {
  $("strength-told").textContent = say("percent", { n: Math.round(100 * $("strength").value) });
  $("strength").setAttribute("aria-valuetext", $("strength-told").textContent);
  $("stroke-told").textContent = state.stroke === null ? say("sharpest_told") : `× ${state.stroke.toFixed(2)}`;
  $("stroke").setAttribute("aria-valuetext", $("stroke-told").textContent);
  $("stroke-auto").setAttribute("aria-pressed", state.stroke === null);
  $("stroke").classList.toggle("resting", state.stroke === null);
  for (const slider of document.querySelectorAll("input[type=range]")) {
    slider.style.setProperty("--fill", `${(100 * (slider.value - slider.min)) / (slider.max - slider.min)}%`);
  }
}

// Width and height of the painting: the photo's, less where another size is chosen or it is too large to paint.
function sizeAsked() {
  const longest = Number($("side").value) || Infinity;
  const scale = Math.min(1, longest / Math.max(...whole), Math.sqrt(MOST / (whole[0] * whole[1])));
  return whole.map((length) => Math.max(1, Math.round(length * scale)));
}

function showSize() {
  if (!whole) return;
  const [width, height] = sizeAsked();
  const time = pace === null ? "" : duration(Math.max(1, pace * width * height));
  $("side-told").textContent = say(time ? "size_told" : "size_px", { width, height, time });
}

function translate(name) {
  setLanguage(name);
  $("language").value = name;
  for (const option of $("style").options) option.textContent = nameOf(choices.find((one) => one.name === option.value));
  if (choices.length) showAbout();
  if (told) tell(...told);
  if (shown) draw();
  showSliders();
  showSize();
}

// --------------------------------------------------------------------------------------------------------- controls

async function open(file) {
  if (!file) return;
  const mine = ++count;
  $("busy").hidden = false;
  opening++;
  const read = await decoded(file).catch(() => null);
  opening--;
  $("busy").hidden = asked === null && !opening;
  if (mine !== count) return read?.close();
  if (!read) return fail({ code: "undecoded" });
  bitmap?.close();
  [opened, whole, bitmap] = [file, [read.width, read.height], read];
  $("compare").setAttribute("aria-pressed", false);
  drawOn(bitmap, say("photo_alone"));
  showSize();
  paint();
}

function choose(name) {
  state.name = name;
  $("strength").value = choice().strength;
  showSliders();
  showAbout();
  paint();
}

async function save() {
  const canvas = new OffscreenCanvas(shown.width, shown.height);
  canvas.getContext("2d").drawImage(shown.painted, 0, 0);
  const href = URL.createObjectURL(await canvas.convertToBlob({ type: "image/png" }));
  Object.assign(document.createElement("a"), { href, download: `${shown.stem}-${shown.style.name}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

for (const id of ["choose", "open"]) $(id).addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  open($("file").files[0]);
  $("file").value = "";
});
$("style").addEventListener("change", () => choose($("style").value));
$("side").addEventListener("change", () => {
  showSize();
  paint();
});
$("strength").addEventListener("input", showSliders);
$("strength").addEventListener("change", paint);
$("stroke").addEventListener("input", () => {
  state.stroke = Number((2 ** $("stroke").value).toFixed(3));
  showSliders();
});
$("stroke").addEventListener("change", paint);
$("stroke-auto").addEventListener("click", () => {
  state.stroke = state.stroke === null ? Number((2 ** $("stroke").value).toFixed(3)) : null;
  showSliders();
  paint();
});
$("compare").addEventListener("click", () => {
  $("compare").setAttribute("aria-pressed", $("compare").getAttribute("aria-pressed") !== "true");
  draw();
});
$("save").addEventListener("click", save);
$("language").addEventListener("change", () => translate($("language").value));

document.addEventListener("paste", (event) => {
  open([...event.clipboardData.files].find((file) => file.type.startsWith("image/")));
});
let inside = 0;
const dragged = (step) => (event) => {
  event.preventDefault();
  inside = step ? Math.max(0, inside + step) : inside;
  $("drop").classList.toggle("there", inside > 0);
};
document.addEventListener("dragenter", dragged(1));
document.addEventListener("dragleave", dragged(-1));
document.addEventListener("dragover", dragged(0));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  $("drop").classList.remove("there");
  open(event.dataTransfer.files[0]);
});

async function begin() {
  $("status").textContent = "";
  translate(navigator.language.startsWith("zh") ? "zh" : "en");
  try {
    const about = await (await fetch("style.json")).json();
    choices = about.choices;
    $("style").replaceChildren(...choices.map((one) => Object.assign(document.createElement("option"), { value: one.name })));
    $("style-label").hidden = choices.length < 2;
    $("strokes").hidden = !about.spec.entries[0].strokes.length;
    translate($("language").value);
    choose(choices[0].name);
  } catch (error) {
    fail({ code: "not_fetched", message: `style.json: ${error.message}` });
  }
  document.body.dataset.ready = "true";
}

begin();
