// The picture: photo and painting on a canvas, with a slider between them, zoom, and a brush for the mask.

import { Brush } from "/static/brush.js";
import { Mask } from "/static/mask.js";
import { within } from "/static/page.js";

const LARGEST = 16;

export class Stage {
  constructor(element, { onMask, onZoom, onBrush }) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.handle = element.querySelector("#split");
    this.tag = element.querySelector("#tag-before");
    this.context = this.canvas.getContext("2d");
    Object.assign(this, { onMask, onZoom, onBrush });
    this.photo = this.painting = this.live = null;
    this.mask = new Mask();
    this.brush = new Brush(this);
    this.split = 0.5;
    this.comparing = this.brushing = false;
    this.pointers = new Map();
    this.fit();
    new ResizeObserver(() => this.resize()).observe(element);
    this.listen();
  }

  // ------------------------------------------------------------------------------------------------ what is shown

  setPhoto(bitmap) {
    this.photo = bitmap;
    this.painting = this.live = null;
    this.mask.clear();
    this.fit();
  }

  setPainting(bitmap) {
    this.painting = bitmap;
    this.draw();
  }

  setLive(painted, frame) {
    this.live = painted && { painted, frame };
    this.draw();
  }

  compare(on) {
    this.comparing = on;
    this.draw();
  }

  // ---------------------------------------------------------------------------------------------------- geometry

  get size() {
    const picture = this.live?.painted ?? this.photo;
    return picture ? { width: picture.width, height: picture.height } : { width: 4, height: 3 };
  }

  // Where the picture is on the stage, in CSS pixels.
  get box() {
    const { width, height } = this.size;
    const scale = this.fitted * this.zoom;
    return {
      left: this.room.left + (this.room.width - width * scale) / 2 + this.x,
      top: this.room.top + (this.room.height - height * scale) / 2 + this.y,
      width: width * scale,
      height: height * scale,
    };
  }

  get room() {
    const small = this.element.clientWidth < 700;
    const [side, top, bottom] = small ? [0, 0, 0] : [28, 62, 84];
    return { left: side, top, width: this.element.clientWidth - 2 * side, height: this.element.clientHeight - top - bottom };
  }

  get fitted() {
    const { width, height } = this.size;
    return Math.min(this.room.width / width, this.room.height / height);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.element.clientWidth * ratio);
    this.canvas.height = Math.round(this.element.clientHeight * ratio);
    this.draw();
  }

  fit() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.draw();
    this.onZoom?.(this.zoom);
  }

  // Zoom by a factor around a point of the stage.
  zoomBy(factor, at = { x: this.element.clientWidth / 2, y: this.element.clientHeight / 2 }) {
    const before = this.box;
    const zoom = within(this.zoom * factor, 1, LARGEST);
    const share = { x: (at.x - before.left) / before.width, y: (at.y - before.top) / before.height };
    this.zoom = zoom;
    const after = this.box;
    this.pan(at.x - share.x * after.width - after.left, at.y - share.y * after.height - after.top);
    this.onZoom(zoom);
  }

  pan(dx, dy) {
    const { width, height } = this.size;
    const reach = (length, room) => Math.max(0, (length * this.fitted * this.zoom - room) / 2);
    const [rx, ry] = [reach(width, this.room.width), reach(height, this.room.height)];
    this.x = within(this.x + dx, -rx, rx);
    this.y = within(this.y + dy, -ry, ry);
    this.draw();
  }

  // Bring a point of the picture, in shares of it, into view.
  reveal({ x, y }) {
    const { box, room } = this;
    const missing = (at, start, length) => within(at, start, start + length) - at;
    const right = missing(box.left + x * box.width, room.left, room.width);
    this.pan(right, missing(box.top + y * box.height, room.top, room.height));
  }

  // ----------------------------------------------------------------------------------------------------- drawing

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { context, box } = this;
    const ratio = this.canvas.width / (this.element.clientWidth || 1);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.element.clientWidth, this.element.clientHeight);
    const photo = this.live?.frame ?? this.photo;
    const painting = this.live?.painted ?? this.painting;
    this.place(box, Boolean(photo && painting));
    if (!photo) return;
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = this.fitted * this.zoom < 4;
    context.shadowColor = "#0008";
    context.shadowBlur = 40;
    context.shadowOffsetY = 10 * ratio;
    context.fillStyle = "#777";
    context.fillRect(box.left + 1, box.top + 1, box.width - 2, box.height - 2);
    context.shadowColor = "transparent";
    const show = (bitmap) => context.drawImage(bitmap, box.left, box.top, box.width, box.height);
    show(photo);
    if (painting) {
      context.save();
      if (this.comparing && !this.brushing) {
        context.beginPath();
        context.rect(this.splitAt, 0, this.element.clientWidth, this.element.clientHeight);
        context.clip();
      }
      show(painting);
      context.restore();
    }
    if (this.brushing && this.mask.canvas) {
      context.globalAlpha = 0.45;
      show(this.mask.tint);
      context.globalAlpha = 1;
    }
    if (this.brushing) this.brush.draw(context, box);
  }

  // Left and right end of what is seen of the picture.
  get seen() {
    const { left, width } = this.box;
    return [Math.max(0, left), Math.min(this.element.clientWidth, left + width)];
  }

  get splitAt() {
    const [left, right] = this.seen;
    return left + this.split * (right - left);
  }

  // Put the handle and the label where the picture is.
  place(box, both) {
    const shown = this.comparing && both && !this.brushing;
    this.handle.hidden = this.tag.hidden = !shown;
    if (!shown) return;
    const top = Math.max(0, box.top);
    this.handle.style.setProperty("--at", `${this.splitAt}px`);
    this.handle.style.setProperty("--top", `${top}px`);
    this.handle.style.setProperty("--bottom", `${Math.max(0, this.element.clientHeight - box.top - box.height)}px`);
    this.tag.style.setProperty("--left", `${Math.max(0, box.left)}px`);
    this.tag.style.setProperty("--top", `${Math.max(top, this.room.top)}px`);
    this.handle.setAttribute("aria-valuenow", Math.round(100 * this.split));
  }

  // -------------------------------------------------------------------------------------------------------- mask

  // Brush from a point of the stage to another.
  dab(from, to) {
    const box = this.box;
    const share = ({ x, y }) => ({ x: (x - box.left) / box.width, y: (y - box.top) / box.height });
    this.mask.stroke(this.size, share(from), share(to));
    this.draw();
  }

  invertMask() {
    this.mask.invert(this.size);
    this.draw();
  }

  // ---------------------------------------------------------------------------------------------------- pointers

  listen() {
    const at = (event) => {
      const frame = this.element.getBoundingClientRect();
      return { x: event.clientX - frame.left, y: event.clientY - frame.top };
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      if (this.brushing && this.pointers.size === 1) this.dab(at(event), at(event));
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = at(event);
      if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
      else if (this.brushing) this.dab(before, now);
      else this.pan(now.x - before.x, now.y - before.y);
      this.pointers.set(event.pointerId, now);
    });
    const end = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      if (this.brushing && !this.pointers.size) this.onMask();
    };
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
    this.canvas.addEventListener("dblclick", (event) => (this.zoom > 1 ? this.fit() : this.zoomBy(3, at(event))));
    this.element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), at(event));
    }, { passive: false });
    this.handle.addEventListener("pointerdown", (event) => {
      this.handle.setPointerCapture(event.pointerId);
      this.dragging = true;
    });
    this.handle.addEventListener("pointermove", (event) => this.dragging && this.moveSplit(at(event).x));
    for (const name of ["pointerup", "pointercancel"]) this.handle.addEventListener(name, () => (this.dragging = false));
    this.handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.split = within(this.split + step, 0, 1);
      this.draw();
    });
  }

  pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const length = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    this.zoomBy(length(now) / length(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
  }

  moveSplit(x) {
    const [left, right] = this.seen;
    this.split = within((x - left) / (right - left), 0, 1);
    this.draw();
  }
}
