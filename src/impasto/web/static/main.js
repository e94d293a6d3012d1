// The page: what is chosen, what is painted of it, and what everything on the page does.

import { ApiError, getBlob, getJson, stylize } from "/static/api.js";
import { frameOf, isVideo } from "/static/clips.js";
import { Live } from "/static/live.js";
import { Pad } from "/static/pad.js";
import { Stage } from "/static/stage.js";
import { duration, say, sayError, setLanguage, styleName } from "/static/text.js";
import { Work } from "/static/work.js";

const $ = (id) => document.getElementById(id);
const PREVIEW = 560; // long side of what answers a slider at once
const SHOWN = 2048; // long side of what is shown; a download is painted at full size
const THUMBNAIL = 224;
const AT_ONCE = 3; // thumbnails on their way
const REST = 180; // milliseconds after the last move before the full picture is painted
const KEPT = 40; // pictures in the history
const PAINTING = 1024; // long side of a painting of one's own: its statistics are taken no larger
const PAINTINGS = 4; // that are kept, as many as the server keeps

const state = { style: "starry_night", tab: "style", strength: null, stroke: null, colors: "style", pad: null, mask: null };
const photo = { file: null, shown: null, preview: null, thumb: null, isSample: true, clip: null };
const thumbnails = new Map();
let info = null; // what the server can do
let styles = [];
let paintings = []; // of the visitor's own, which are styles too
let paintingCount = 0;
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
  const style = styleOf(state.style);
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
    style: state.tab === "blend" ? pad.style : chosenPainting() ? null : state.style,
    strength: state.strength,
    stroke: state.stroke,
    colors: state.colors,
  };
}

const styleOf = (name) => styles.find((style) => style.name === name);
const chosenPainting = () => (state.tab === "blend" ? null : styleOf(state.style)?.painting);

// Paint a picture as the controls say.
async function render(picture, more, signal, painting = chosenPainting()) {
  return stylize({ photo: picture, mask: await stage.maskBlob(), painting }, { ...fields(), ...more }, signal);
}

// Paint the small picture that is a style's thumbnail.
const renderThumb = ({ name, painting }, signal) =>
  stylize({ photo: photo.thumb, painting }, { style: painting ? null : name, quality: 84 }, signal);

let previewing = false; // one is on its way
let again = false; // and another is wanted after it
let full = null; // what stops the full picture on its way
let timer = 0;
let version = 0; // of what is asked for

// Something was moved: answer with a small picture at once, and with the full one when it rests.
function change() {
  if (!photo.shown) return;
  if (jobIsShown && !live.running) stage.setLive(null);
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
    const blob = await render(photo.preview, { quality: 82 });
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
    const blob = await render(photo.shown, { quality: 92 }, controller.signal);
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
  const label = say(photo.clip?.seen ? "your_video" : photo.isSample ? "sample" : "your_photo", { style: told() });
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
    const { name } = styles.find((style) => !style.own);
    return createImageBitmap(await stylize({ photo: file }, { style: name, strength: 0, size: SHOWN, format: "webp" }));
  }
}

const open = (file) => file && (isVideo(file) ? openVideo(file) : openPhoto(file));

// Show a frame of a video, to try styles on, where the browser can.
async function openVideo(file) {
  const { video_mb: megabytes, video_minutes: minutes } = info.limits;
  try {
    if (!info.jobs.video) throw new ApiError("no_video", "");
    if (file.size > megabytes * 1e6) throw new ApiError("too_large", `${Math.round(file.size / 1e6)} MB > ${megabytes} MB`);
    $("busy").hidden = false;
    const found = await frameOf(file);
    if (found?.seconds > 60 * minutes + 1) {
      throw new ApiError("too_large", `${duration(found.seconds)} > ${duration(60 * minutes)}`);
    }
    const clip = { file, seconds: found?.seconds, seen: Boolean(found) };
    if (found) {
      await openPhoto(await scaled(found.bitmap, SHOWN, "image/jpeg", 0.95), { clip });
    } else {
      photo.clip = clip;
      $("busy").hidden = true;
      $("welcome").hidden = true;
      showSave();
    }
    tell($("clip-told").textContent);
  } catch (error) {
    $("busy").hidden = true;
    fail(error);
  }
}

async function openPhoto(file, { isSample = false, clip = null } = {}) {
  stopLive();
  $("busy").hidden = false;
  try {
    const bitmap = await decode(file);
    const [shown, small, thumb] = await Promise.all([scaled(bitmap, SHOWN), scaled(bitmap, PREVIEW), scaled(bitmap, THUMBNAIL)]);
    Object.assign(photo, { file, bitmap, shown, preview: small, thumb, isSample, clip });
    state.mask = null;
    history = [];
    place = -1;
    showHistory();
    stage.setPhoto(bitmap);
    $("welcome").hidden = !isSample;
    showSave();
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
  const style = styleOf(state.style);
  const artist = style && [style.artist, style.year].filter(Boolean).join(", ");
  if (style?.painting) $("about").textContent = say("painting_about");
  else $("about").textContent = !style ? "" : style.own ? say("own") : artist ? say("by", { title: style.title, artist }) : style.title;
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
  const waiting = [...styles];
  const next = async () => {
    while (waiting.length && !controller.signal.aborted) {
      const style = waiting.shift();
      setThumbnail(style.name, URL.createObjectURL(await renderThumb(style, controller.signal)));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next)).catch(fail);
}

async function loadStyles() {
  styles = [...paintings, ...(await getJson("/v1/styles"))];
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
    setThumbnail(name, URL.createObjectURL(await renderThumb(styleOf(name))));
  } catch (error) {
    fail(error);
  }
}

// A painting of one's own becomes a style. The server takes its statistics once; what is sent for that is small.
async function addPainting(file) {
  if (!file) return;
  $("busy").hidden = false;
  try {
    const small = await scaled(await decode(file), PAINTING);
    const number = ++paintingCount;
    const style = {
      name: `painting-${number}`,
      own: true,
      strength: 1,
      painting: small,
      whole: file.size <= info.limits.upload_mb * 1e6 ? file : small, // whose hash a recipe has
      get title() {
        return number > 1 ? say("your_painting_n", { n: number }) : say("your_painting");
      },
    };
    paintings = [style, ...paintings].slice(0, PAINTINGS);
    await useStyle(style.name);
    $("styles").querySelector("[aria-checked=true]")?.focus();
  } catch (error) {
    $("busy").hidden = true;
    fail(error instanceof ApiError ? error : new ApiError("not_image", String(error)));
  }
}

const inBase64 = (blob) =>
  new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.readAsDataURL(blob);
  });

// --------------------------------------------------------------------------------------------------------- sliders

const strengthOf = () => state.strength ?? styleOf(state.style)?.strength ?? 1;

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

// What the lowest row offers: a download, a picture of the webcam, or the painting of a video.
function showSave() {
  const { clip } = photo;
  const isClip = Boolean(clip) && !live.running;
  $("download").disabled = photo.isSample && !isClip && !live.running;
  $("download").dataset.text = live.running ? "save_frame" : isClip ? "paint_video" : "download";
  $("download").textContent = say($("download").dataset.text);
  $("format-label").hidden = isClip || live.running;
  $("clip-size-label").hidden = $("clip-told").hidden = !isClip;
  if (isClip) $("clip-told").textContent = clip.seen ? say("clip_told", { length: duration(clip.seconds ?? 0) }) : say("clip_unseen");
}

async function download() {
  const button = $("download");
  button.disabled = true;
  button.textContent = say("downloading");
  try {
    const format = $("format").value;
    const whole = state.tab === "blend" ? null : styleOf(state.style)?.whole;
    const blob = await render(photo.file, { format, quality: format === "png" ? null : 95 }, undefined, whole);
    const name = state.tab === "blend" ? "blend" : whole ? "own-painting" : styleOf(state.style)?.own ? "own-style" : state.style;
    save(blob, `painting-${name}.${format === "jpeg" ? "jpg" : format}`);
  } catch (error) {
    fail(error);
  }
  showSave();
}

async function paintVideo() {
  const mask = photo.clip.seen ? await stage.maskBlob() : null;
  const files = [["video", photo.clip.file], ["mask", mask], ["painting", chosenPainting()]];
  const asked = work.video({ ...fields(), size: $("clip-size").value || null }, files, told());
  selectTab("studio");
  await asked;
}

// ---------------------------------------------------------------------------------------------------------- webcam

const live = new Live($("video"), {
  show: (painted, frame) => stage.setLive(painted, frame),
  fail: (error) => {
    stopLive();
    fail(error);
  },
  settings: async () => ({ ...fields(), ...(chosenPainting() ? { painting: await inBase64(chosenPainting()) } : {}) }),
});

async function startLive() {
  try {
    await live.start();
    $("webcam").setAttribute("aria-pressed", true);
    $("welcome").hidden = true;
    showSave();
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
  $("welcome").hidden = !photo.isSample || Boolean(photo.clip);
  showSave();
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
    const bitmap = await createImageBitmap(image);
    const { width, height } = stage.photo ?? bitmap;
    const isOfPhoto = Math.abs(Math.log((bitmap.width * height) / (bitmap.height * width))) < 0.02;
    stage.setLive(isOfPhoto ? null : bitmap, bitmap); // of another picture it is shown by itself
    if (isOfPhoto) stage.setPainting(bitmap);
  },
  useStyle,
  nameOf: (name) =>
    name
      .split("-")
      .map((part) => (styleOf(part) ? styleName(styleOf(part)) : part === "painting" ? say("your_painting") : part))
      .join(", "),
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
    open($(id).files[0]);
    $(id).value = "";
  });
}
$("painting-add").addEventListener("click", () => $("file-painting").click());
$("file-painting").addEventListener("change", () => {
  addPainting($("file-painting").files[0]);
  $("file-painting").value = "";
});
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
  else if (photo.clip) paintVideo();
  else download();
});

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("input:not([type=range]), textarea")) return;
  if (event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  goTo(place + (event.shiftKey ? 1 : -1));
});
document.addEventListener("paste", (event) => {
  open([...event.clipboardData.files].find((file) => file.type.startsWith("image/") || isVideo(file)));
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
  const [file] = event.dataTransfer.files;
  if (event.target.closest?.("#painting-add")) addPainting(file);
  else open(file);
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
  showSave();
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
    [info] = await Promise.all([getJson("/v1/info"), loadStyles(), openSample()]);
    $("painting-add").hidden = !info.engines.length;
    for (const option of [...$("clip-size").options]) if (Number(option.value) > info.limits.largest_video) option.remove();
    showSliders();
    await work.begin(info, $("studio-none"));
  } catch (error) {
    fail(error);
  }
  document.body.dataset.ready = "true";
}

begin();
