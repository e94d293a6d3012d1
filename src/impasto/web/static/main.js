// The page: what is chosen, what is painted of it, and what everything on the page does.

import { ApiError, getBlob, getJson, stylize } from "/static/api.js";
import { Live } from "/static/live.js";
import { Pad } from "/static/pad.js";
import { Stage } from "/static/stage.js";
import { say, sayError, setLanguage, styleName } from "/static/text.js";
import { Work } from "/static/work.js";

const $ = (id) => document.getElementById(id);
const PREVIEW = 560; // long side of what answers a slider at once
const SHOWN = 2048; // long side of what is shown; a download is painted at full size
const THUMBNAIL = 224;
const AT_ONCE = 3; // thumbnails on their way
const REST = 180; // milliseconds after the last move before the full picture is painted
const KEPT = 40; // pictures in the history

const state = { style: "starry_night", tab: "style", strength: null, stroke: null, colors: "style", pad: null, mask: null };
const photo = { file: null, shown: null, preview: null, thumb: null, isSample: true };
const thumbnails = new Map();
let styles = [];
let history = [];
let place = -1;

// ------------------------------------------------------------------------------------------------------- telling

function fail(error) {
  if (error.name === "AbortError") return;
  const line = document.createElement("div");
  const text = Object.assign(document.createElement("span"), { textContent: sayError(error) });
  const close = Object.assign(document.createElement("button"), { type: "button", className: "icon", textContent: "×" });
  close.setAttribute("aria-label", say("close"));
  close.addEventListener("click", () => line.remove());
  line.append(text, close);
  $("alerts").replaceChildren(line);
  setTimeout(() => line.remove(), 12000);
}

const tell = (text) => ($("status").textContent = text);

function told() {
  if (state.tab === "blend") return say("blend_of", { styles: $("shares").textContent.replaceAll("  ·  ", ", ") });
  const style = styles.find(({ name }) => name === state.style);
  return style ? styleName(style) : state.style;
}

// ------------------------------------------------------------------------------------------------------ the stage

const stage = new Stage($("stage"), {
  onMask: () => {
    state.mask = stage.copyMask();
    change();
  },
  onZoom: (zoom) => ($("zoom-fit").textContent = `${Math.round(100 * zoom)}%`),
});

// -------------------------------------------------------------------------------------------------------- painting

function fields() {
  return {
    style: state.tab === "blend" ? pad.style : state.style,
    strength: state.strength,
    stroke: state.stroke,
    colors: state.colors,
  };
}

let previewing = false; // one is on its way
let again = false; // and another is wanted after it
let full = null; // what stops the full picture on its way
let timer = 0;
let version = 0; // of what is asked for

// Something was moved: answer with a small picture at once, and with the full one when it rests.
function change() {
  if (!photo.shown) return;
  jobIsShown = false;
  version++;
  full?.abort();
  full = null;
  if (live.running) return live.tell();
  preview();
  clearTimeout(timer);
  timer = setTimeout(paint, REST);
}

async function preview() {
  if (previewing) {
    again = true;
    return;
  }
  const mine = version;
  previewing = true;
  try {
    const blob = await stylize(photo.preview, await stage.maskBlob(), { ...fields(), quality: 82 });
    const bitmap = await createImageBitmap(blob);
    if (fullVersion < mine) stage.setPainting(bitmap);
  } catch (error) {
    fail(error);
  }
  previewing = false;
  if (again) {
    again = false;
    preview();
  }
}

let jobIsShown = false; // on the stage, in place of what the controls say
let fullVersion = -1; // of the full picture that is shown

async function paint() {
  const mine = version;
  const controller = (full = new AbortController());
  $("busy").hidden = false;
  try {
    const blob = await stylize(photo.shown, await stage.maskBlob(), { ...fields(), quality: 92 }, controller.signal);
    const bitmap = await createImageBitmap(blob);
    if (mine !== version) return;
    fullVersion = mine;
    stage.setPainting(bitmap);
    describe();
    remember(bitmap);
    tell(say("painted", { style: told() }));
  } catch (error) {
    fail(error);
  } finally {
    if (full === controller || full === null) $("busy").hidden = true;
  }
}

function describe() {
  const label = say(photo.isSample ? "sample" : "your_photo", { style: told() });
  $("canvas").setAttribute("aria-label", label);
}

// ---------------------------------------------------------------------------------------------------------- photos

async function scaled(bitmap, side, type = "image/webp", quality = 0.92) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}

// What the browser cannot show (HEIC, TIFF), the server turns into what it can.
async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return createImageBitmap(await stylize(file, null, { style: styles[0].name, strength: 0, size: SHOWN, format: "webp" }));
  }
}

async function openPhoto(file, { isSample = false } = {}) {
  if (!file) return;
  stopLive();
  $("busy").hidden = false;
  try {
    const bitmap = await decode(file);
    const [shown, small, thumb] = await Promise.all([scaled(bitmap, SHOWN), scaled(bitmap, PREVIEW), scaled(bitmap, THUMBNAIL)]);
    Object.assign(photo, { file, bitmap, shown, preview: small, thumb, isSample });
    state.mask = null;
    history = [];
    place = -1;
    showHistory();
    stage.setPhoto(bitmap);
    $("welcome").hidden = !isSample;
    $("download").disabled = isSample;
    $("canvas").setAttribute("aria-label", say("photo_alone"));
    change();
    if (!isSample) paintThumbnails();
  } catch (error) {
    $("busy").hidden = true;
    fail(error instanceof ApiError ? error : new ApiError("not_image", String(error)));
  }
}

// The sample is small: painted larger, its strokes are as fine as a photo's.
async function openSample() {
  const bitmap = await createImageBitmap(await getBlob("/v1/sample"));
  const canvas = document.createElement("canvas");
  canvas.width = 3 * bitmap.width;
  canvas.height = 3 * bitmap.height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  if (photo.file === null) await openPhoto(blob, { isSample: true });
}

// ---------------------------------------------------------------------------------------------------------- styles

function showStyles() {
  $("styles").replaceChildren(
    ...styles.map((style) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.setAttribute("role", "radio");
      button.dataset.style = style.name;
      const thumb = Object.assign(document.createElement("span"), { className: "thumb" });
      const image = Object.assign(new Image(), { alt: "", draggable: false });
      image.addEventListener("load", () => image.classList.add("there"));
      if (thumbnails.has(style.name)) image.src = thumbnails.get(style.name);
      thumb.append(image);
      const name = Object.assign(document.createElement("span"), { className: "name", textContent: styleName(style) });
      button.append(thumb, name);
      button.addEventListener("click", () => chooseStyle(style.name));
      return button;
    }),
  );
  markStyle();
  pad.setStyles(styles, thumbnails);
}

function markStyle() {
  for (const button of $("styles").children) {
    const isIt = button.dataset.style === state.style;
    button.setAttribute("aria-checked", isIt);
    button.tabIndex = isIt ? 0 : -1;
  }
  const style = styles.find(({ name }) => name === state.style);
  const artist = style && [style.artist, style.year].filter(Boolean).join(", ");
  $("about").textContent = !style ? "" : style.own ? say("own") : artist ? say("by", { title: style.title, artist }) : style.title;
}

function chooseStyle(name) {
  state.style = name;
  markStyle();
  showSliders();
  change();
}

function setThumbnail(name, source) {
  const old = thumbnails.get(name);
  thumbnails.set(name, source);
  const image = $("styles").querySelector(`[data-style="${name}"] img`);
  if (image) image.src = source;
  pad.setStyles(styles, thumbnails);
  if (old?.startsWith("blob:")) URL.revokeObjectURL(old);
}

let thumbing = null;

// Every style on this photo, a few at a time.
async function paintThumbnails() {
  thumbing?.abort();
  const controller = (thumbing = new AbortController());
  const waiting = styles.map(({ name }) => name);
  const next = async () => {
    while (waiting.length && !controller.signal.aborted) {
      const name = waiting.shift();
      const blob = await stylize(photo.thumb, null, { style: name, quality: 84 }, controller.signal);
      setThumbnail(name, URL.createObjectURL(blob));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next)).catch(fail);
}

async function loadStyles() {
  styles = await getJson("/v1/styles");
  for (const style of styles) {
    if (!style.own && !thumbnails.has(style.name)) thumbnails.set(style.name, `/v1/styles/${style.name}/thumbnail`);
  }
  showStyles();
}

async function useStyle(name) {
  try {
    await loadStyles();
    selectTab("style");
    chooseStyle(name);
    const blob = await stylize(photo.thumb, null, { style: name, quality: 84 });
    setThumbnail(name, URL.createObjectURL(blob));
  } catch (error) {
    fail(error);
  }
}

// --------------------------------------------------------------------------------------------------------- sliders

const strengthOf = () => state.strength ?? styles.find(({ name }) => name === state.style)?.strength ?? 1;

function showSliders() {
  $("strength").value = strengthOf();
  $("strength-told").textContent = say("percent", { n: Math.round(100 * strengthOf()) });
  $("stroke").value = state.stroke === null ? 0 : Math.log2(state.stroke);
  const size = state.stroke === null ? say("sharpest_told") : `× ${state.stroke.toFixed(2)}`;
  $("stroke-told").textContent = size;
  $("stroke").setAttribute("aria-valuetext", size);
  $("strength").setAttribute("aria-valuetext", $("strength-told").textContent);
  $("stroke-auto").setAttribute("aria-pressed", state.stroke === null);
  $("stroke").classList.toggle("resting", state.stroke === null);
  $("colors").value = state.colors;
  $("brush-size-told").textContent = say("percent", { n: $("brush-size").value });
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const share = (slider.value - slider.min) / (slider.max - slider.min);
    slider.style.setProperty("--fill", `${100 * share}%`);
  }
}

function slide(id, set) {
  $(id).addEventListener("input", () => {
    set(Number($(id).value));
    showSliders();
    change();
  });
}

// --------------------------------------------------------------------------------------------------------- history

function snapshot() {
  return { ...state, pad: pad.state };
}

async function remember(bitmap) {
  const now = snapshot();
  const same = (a, b) => JSON.stringify({ ...a, mask: 0 }) === JSON.stringify({ ...b, mask: 0 }) && a.mask === b.mask;
  if (place >= 0 && same(history[place].state, now)) return;
  history = [...history.slice(0, place + 1), { state: now, painting: bitmap, thumb: "", label: told() }].slice(-KEPT);
  place = history.length - 1;
  const entry = history[place];
  entry.thumb = URL.createObjectURL(await scaled(bitmap, 160, "image/jpeg", 0.85));
  for (const old of history.slice(0, -8)) old.painting = null; // painted again where it is wanted
  showHistory();
}

function showHistory() {
  $("undo").disabled = place <= 0;
  $("redo").disabled = place >= history.length - 1;
  $("strip").replaceChildren(
    ...history.map((entry, i) => {
      const item = document.createElement("li");
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.setAttribute("aria-label", `${say("of_total", { n: i + 1, total: history.length })}: ${entry.label}`);
      button.setAttribute("aria-current", i === place);
      button.append(Object.assign(new Image(), { src: entry.thumb, alt: "" }));
      button.addEventListener("click", () => goTo(i));
      item.append(button);
      return item;
    }),
  );
  const current = $("strip").children[place];
  if (current) $("strip").scrollLeft = current.offsetLeft - $("strip").clientWidth / 2;
}

function goTo(i) {
  if (i < 0 || i >= history.length) return;
  place = i;
  const entry = history[i];
  Object.assign(state, entry.state);
  pad.state = entry.state.pad;
  stage.mask = state.mask;
  stage.mask = stage.copyMask();
  selectTab(state.tab, false);
  markStyle();
  showSliders();
  showHistory();
  version++;
  full?.abort();
  clearTimeout(timer);
  fullVersion = version;
  if (entry.painting) stage.setPainting(entry.painting);
  else change();
  describe();
}

// ------------------------------------------------------------------------------------------------------------ tabs

const tabs = [...document.querySelectorAll("[role=tab]")];

function selectTab(name, changes = true) {
  const tab = `tab-${name}`;
  for (const each of tabs) {
    const isIt = each.id === tab;
    each.setAttribute("aria-selected", isIt);
    each.tabIndex = isIt ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !isIt;
  }
  const isStudio = name === "studio";
  $("sliders").hidden = $("save").hidden = isStudio; // a job has its own way to be saved
  if (jobIsShown && !isStudio) change();
  stage.brushing = name === "mask";
  $("stage").classList.toggle("brush", stage.brushing);
  stage.draw();
  const was = state.tab;
  if (name === "style" || name === "blend") state.tab = name;
  if (changes && was !== state.tab) change();
}

// A list in which the arrow keys go from one to the next, as in every such list.
function arrows(container, selector) {
  container.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...container.querySelectorAll(selector)];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    event.preventDefault();
    next.click();
    next.focus();
  });
}

// -------------------------------------------------------------------------------------------------------- download

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function download() {
  const button = $("download");
  button.disabled = true;
  button.textContent = say("downloading");
  try {
    const format = $("format").value;
    const blob = await stylize(photo.file, await stage.maskBlob(), { ...fields(), format, quality: format === "png" ? null : 95 });
    const name = state.tab === "blend" ? "blend" : styles.find((style) => style.name === state.style)?.own ? "own-style" : state.style;
    save(blob, `painting-${name}.${format === "jpeg" ? "jpg" : format}`);
  } catch (error) {
    fail(error);
  }
  button.textContent = say(live.running ? "save_frame" : "download");
  button.disabled = false;
}

// ---------------------------------------------------------------------------------------------------------- webcam

const live = new Live($("video"), {
  show: (painted, frame) => stage.setLive(painted, frame),
  fail: (error) => {
    stopLive();
    fail(error);
  },
  settings: fields,
});

async function startLive() {
  try {
    await live.start();
    $("webcam").setAttribute("aria-pressed", true);
    $("welcome").hidden = true;
    $("download").disabled = false;
    $("download").textContent = say("save_frame");
    stage.fit();
  } catch (error) {
    live.stop();
    fail(new ApiError("no_camera", String(error)));
  }
}

function stopLive() {
  if ($("webcam").getAttribute("aria-pressed") !== "true") return;
  live.stop();
  stage.setLive(null);
  stage.fit();
  $("webcam").setAttribute("aria-pressed", false);
  $("welcome").hidden = !photo.isSample;
  $("download").disabled = photo.isSample;
  $("download").textContent = say("download");
}

// ------------------------------------------------------------------------------------------------------------ wiring

const pad = new Pad($("pad"), $("corners"), $("shares"), change);
const work = new Work({
  list: $("jobs"),
  optimise: $("optimise"),
  train: $("train"),
  photo: () => photo.file,
  fail,
  show: async (image) => {
    if ($("panel-studio").hidden || live.running) return;
    jobIsShown = true;
    version++;
    fullVersion = version;
    stage.setPainting(await createImageBitmap(image));
  },
  useStyle,
});

slide("strength", (value) => (state.strength = value));
slide("stroke", (value) => (state.stroke = Number((2 ** value).toFixed(3))));
$("brush-size").addEventListener("input", () => {
  stage.brush.size = Number($("brush-size").value);
  showSliders();
});
$("colors").addEventListener("change", () => {
  state.colors = $("colors").value;
  change();
});
$("stroke-auto").addEventListener("click", () => {
  state.stroke = state.stroke === null ? 1 : null;
  showSliders();
  change();
});

for (const keep of [true, false]) {
  $(keep ? "brush-keep" : "brush-paint").addEventListener("click", () => {
    stage.brush.keep = keep;
    for (const [id, isIt] of [["brush-keep", keep], ["brush-paint", !keep]]) {
      $(id).setAttribute("aria-checked", isIt);
      $(id).tabIndex = isIt ? 0 : -1;
    }
  });
}
$("mask-invert").addEventListener("click", () => {
  stage.invertMask();
  stage.onMask();
});
$("mask-clear").addEventListener("click", () => {
  stage.mask = null;
  stage.onMask();
  stage.draw();
});

for (const tab of tabs) tab.addEventListener("click", () => selectTab(tab.id.slice(4)));
arrows(document.querySelector("[role=tablist]"), "[role=tab]");
arrows($("styles"), "[role=radio]");
arrows(document.querySelector(".choices"), "[role=radio]");

$("choose").addEventListener("click", () => $("file").click());
$("open").addEventListener("click", () => $("file").click());
$("camera").addEventListener("click", () => $("file-camera").click());
for (const id of ["file", "file-camera"]) {
  $(id).addEventListener("change", () => {
    openPhoto($(id).files[0]);
    $(id).value = "";
  });
}
$("webcam").addEventListener("click", () => (live.running ? stopLive() : startLive()));
$("webcam-small").addEventListener("click", startLive);
$("compare").addEventListener("click", () => {
  const on = $("compare").getAttribute("aria-pressed") !== "true";
  $("compare").setAttribute("aria-pressed", on);
  stage.compare(on);
  if (on) stage.frame ? requestAnimationFrame(() => $("split").focus({ preventScroll: true })) : $("split").focus();
});
$("zoom-in").addEventListener("click", () => stage.zoomBy(1.5));
$("zoom-out").addEventListener("click", () => stage.zoomBy(1 / 1.5));
$("zoom-fit").addEventListener("click", () => stage.fit());
$("undo").addEventListener("click", () => goTo(place - 1));
$("redo").addEventListener("click", () => goTo(place + 1));
$("download").addEventListener("click", async () => {
  if (live.running) openPhoto(await live.picture());
  else download();
});

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("input:not([type=range]), textarea")) return;
  if (event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  goTo(place + (event.shiftKey ? 1 : -1));
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) openPhoto(file);
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
  openPhoto(event.dataTransfer.files[0]);
});

// ------------------------------------------------------------------------------------------------ language and light

function remembered(key, fallback) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback; // a browser that keeps nothing
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // a browser that keeps nothing
  }
}

function translate(name) {
  setLanguage(name);
  $("language").value = name;
  showSliders();
  if (styles.length) showStyles();
  work.translate();
  if (photo.shown) describe();
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (name) => (document.documentElement.dataset.theme = name);
setTheme(remembered("impasto-theme", dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => setTheme(remembered("impasto-theme", dark.matches ? "dark" : "light")));
$("theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(name);
  keep("impasto-theme", name);
});
$("language").addEventListener("change", () => {
  translate($("language").value);
  keep("impasto-language", $("language").value);
});

async function begin() {
  translate(remembered("impasto-language", navigator.language.startsWith("zh") ? "zh" : "en"));
  try {
    const [info] = await Promise.all([getJson("/v1/info"), loadStyles(), openSample()]);
    showSliders();
    await work.begin(info, $("studio-none"));
  } catch (error) {
    fail(error);
  }
  document.body.dataset.ready = "true";
}

begin();
