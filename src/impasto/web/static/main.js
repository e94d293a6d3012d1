// The page: what is chosen, what is painted of it, and what its parts have to do with each other.

import { ApiError, getJson, stylize } from "/static/api.js";
import { openDoors } from "/static/doors.js";
import { Gallery } from "/static/gallery.js";
import { History } from "/static/history.js";
import { Live } from "/static/live.js";
import { Pad } from "/static/pad.js";
import { $, arrows, fail, save, setBusy, tell } from "/static/page.js";
import { Painter } from "/static/painter.js";
import { Photo, SHOWN } from "/static/photo.js";
import { inBase64 } from "/static/pictures.js";
import { Sliders } from "/static/sliders.js";
import { Stage } from "/static/stage.js";
import { languageWanted, listenToTaste } from "/static/taste.js";
import { duration, say, setLanguage, styleName } from "/static/text.js";
import { Work } from "/static/work.js";

const state = { style: "starry_night", tab: "style", strength: null, stroke: null, colors: "style", pad: null, mask: null };
let info = null; // what the server can do
let jobIsShown = false; // on the stage, in place of what the controls say

// -------------------------------------------------------------------------------------------------------- painting

const chosenPainting = () => (state.tab === "blend" ? null : gallery.chosen?.painting);

function fields() {
  return {
    style: state.tab === "blend" ? pad.style : chosenPainting() ? null : state.style,
    strength: state.strength,
    stroke: state.stroke,
    colors: state.colors,
  };
}

// Paint a picture as the controls say.
async function render(picture, more, signal, painting = chosenPainting()) {
  return stylize({ photo: picture, mask: await stage.mask.blob(), painting }, { ...fields(), ...more }, signal);
}

// Something was moved: paint again.
function change() {
  if (!photo.shown) return;
  if (jobIsShown && !live.running) stage.setLive(null);
  jobIsShown = false;
  if (!live.running) return painter.change();
  painter.interrupt();
  live.tell();
}

function told() {
  if (state.tab === "blend") return say("blend_of", { styles: $("shares").textContent.replaceAll("  ·  ", ", ") });
  return gallery.chosen ? styleName(gallery.chosen) : state.style;
}

function describe() {
  const label = say(photo.clip?.seen ? "your_video" : photo.isSample ? "sample" : "your_photo", { style: told() });
  $("canvas").setAttribute("aria-label", label);
}

const painter = new Painter({
  preview: () => render(photo.preview, { quality: 82 }),
  full: (signal) => render(photo.shown, { quality: 92 }, signal),
  show: (bitmap) => stage.setPainting(bitmap),
  painted: (bitmap) => {
    describe();
    history.add({ ...state, pad: pad.state }, bitmap, told());
    tell(say("painted", { style: told() }));
  },
});

// Go back, or forth, to what was painted before.
const history = new History($("strip"), $("undo"), $("redo"), (entry) => {
  Object.assign(state, entry.state);
  pad.state = entry.state.pad;
  stage.mask.restore(state.mask);
  selectTab(state.tab, false);
  gallery.mark();
  sliders.show();
  painter.rest();
  if (entry.painting) stage.setPainting(entry.painting);
  else change();
  describe();
});

// ---------------------------------------------------------------------------------------------------------- photos

const stage = new Stage($("stage"), {
  onMask: () => {
    state.mask = stage.mask.copy();
    change();
  },
  onZoom: (zoom) => ($("zoom-fit").textContent = `${Math.round(100 * zoom)}%`),
  onBrush: ({ at }) => {
    sliders.show();
    tell(say("brush_at", { x: Math.round(100 * at.x), y: Math.round(100 * at.y), size: stage.mask.size }));
  },
});

// What the browser cannot show (HEIC, TIFF), the server turns into what it can.
async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    const { name } = gallery.styles.find((style) => !style.own);
    return createImageBitmap(await stylize({ photo: file }, { style: name, strength: 0, size: SHOWN, format: "webp" }));
  }
}

const photo = new Photo({
  server: () => info,
  decode,
  opening: () => stopLive(),
  opened: () => {
    state.mask = null;
    history.clear();
    stage.setPhoto(photo.bitmap);
    $("welcome").hidden = !photo.isSample;
    showSave();
    $("canvas").setAttribute("aria-label", say("photo_alone"));
    change();
    if (!photo.isSample) gallery.paintThumbnails();
  },
  offer: () => showSave(),
});

// ---------------------------------------------------------------------------------------------------------- styles

const pad = new Pad($("pad"), $("corners"), $("shares"), change);

const gallery = new Gallery($("styles"), $("about"), {
  state,
  choose: chooseStyle,
  paint: ({ name, painting }, signal) =>
    stylize({ photo: photo.thumb, painting }, { style: painting ? null : name, quality: 84 }, signal),
  decode,
  shown: () => pad.setStyles(gallery.styles, gallery.thumbnails),
});

const sliders = new Sliders({ state, gallery, brush: stage.mask, changed: change });

function chooseStyle(name) {
  state.style = name;
  gallery.mark();
  sliders.show();
  change();
}

async function useStyle(name) {
  try {
    await gallery.load();
    selectTab("style");
    chooseStyle(name);
    gallery.paintThumbnail(gallery.find(name)).catch(fail);
  } catch (error) {
    fail(error);
  }
}

async function addPainting(file) {
  if (!file) return;
  setBusy(true);
  try {
    await useStyle(await gallery.addPainting(file, info.limits.upload_mb * 1e6));
    $("styles").querySelector("[aria-checked=true]")?.focus();
  } catch (error) {
    setBusy(false);
    fail(error instanceof ApiError ? error : new ApiError("not_image", String(error)));
  }
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
  setBrushing(name === "mask");
  const was = state.tab;
  if (name === "style" || name === "blend") state.tab = name;
  if (changes && was !== state.tab) change();
}

// While it is brushed, the picture is something to work on, with keys too.
function setBrushing(on) {
  stage.brushing = on;
  $("stage").classList.toggle("brush", on);
  $("canvas").setAttribute("role", on ? "application" : "img");
  for (const [name, value] of [["tabindex", 0], ["aria-describedby", "mask-keys"]]) {
    if (on) $("canvas").setAttribute(name, value);
    else $("canvas").removeAttribute(name);
  }
  stage.draw();
}

// -------------------------------------------------------------------------------------------------------- download

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
    const style = state.tab === "blend" ? null : gallery.chosen;
    const blob = await render(photo.file, { format, quality: format === "png" ? null : 95 }, undefined, style?.whole);
    const name = state.tab === "blend" ? "blend" : style?.whole ? "own-painting" : style?.own ? "own-style" : state.style;
    save(blob, `painting-${name}.${format === "jpeg" ? "jpg" : format}`);
  } catch (error) {
    fail(error);
  }
  showSave();
}

async function paintVideo() {
  const mask = photo.clip.seen ? await stage.mask.blob() : null;
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

// ------------------------------------------------------------------------------------------------------- long work

async function showJob(image) {
  if ($("panel-studio").hidden || live.running) return;
  jobIsShown = true;
  painter.rest();
  const bitmap = await createImageBitmap(image);
  const { width, height } = stage.photo ?? bitmap;
  const isOfPhoto = Math.abs(Math.log((bitmap.width * height) / (bitmap.height * width))) < 0.02;
  stage.setLive(isOfPhoto ? null : bitmap, bitmap); // of another picture it is shown by itself
  if (isOfPhoto) stage.setPainting(bitmap);
}

const work = new Work({
  list: $("jobs"),
  optimise: $("optimise"),
  train: $("train"),
  photo: () => photo.file,
  fail,
  show: showJob,
  useStyle,
  nameOf: (name) => name.split("-").map(nameOfPart).join(", "),
});

function nameOfPart(part) {
  const style = gallery.find(part);
  return style ? styleName(style) : part === "painting" ? say("your_painting") : part;
}

// ---------------------------------------------------------------------------------------------------------- wiring

for (const keep of [true, false]) {
  $(keep ? "brush-keep" : "brush-paint").addEventListener("click", () => {
    stage.mask.keep = keep;
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
  stage.mask.clear();
  stage.onMask();
  stage.draw();
});

for (const tab of tabs) tab.addEventListener("click", () => selectTab(tab.id.slice(4)));
arrows(document.querySelector("[role=tablist]"), "[role=tab]");
arrows($("styles"), "[role=radio]");
arrows(document.querySelector(".choices"), "[role=radio]");

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
$("download").addEventListener("click", async () => {
  if (live.running) photo.openPhoto(await live.picture());
  else if (photo.clip) paintVideo();
  else download();
});

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("input:not([type=range]), textarea")) return;
  if (event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  history.step(event.shiftKey ? 1 : -1);
});
openDoors({ open: (file) => photo.open(file), addPainting });

function translate(name) {
  setLanguage(name);
  $("language").value = name;
  sliders.show();
  if (gallery.styles.length) gallery.show();
  work.translate();
  showSave();
  if (photo.shown) describe();
}

listenToTaste(translate);

async function begin() {
  translate(languageWanted());
  try {
    [info] = await Promise.all([getJson("/v1/info"), gallery.load(), photo.openSample()]);
    $("painting-add").hidden = !info.engines.length;
    for (const option of [...$("clip-size").options]) if (Number(option.value) > info.limits.largest_video) option.remove();
    sliders.show();
    await work.begin(info, $("studio-none"));
  } catch (error) {
    fail(error);
  }
  document.body.dataset.ready = "true";
}

begin();
