// The mask's brush by keyboard: arrow keys move it over the picture, others brush, brush away and change its size.

import { within } from "/static/page.js";

const STEP = 0.02; // of the short side, at a press
const STRIDE = 0.1; // with Shift
const [SMALLEST, LARGEST] = [2, 40];
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SIZES = { "[": -2, "]": 2 };

const isBrush = ({ key }) => key === " " || key.toLowerCase() === "e";

export class Brush {
  constructor(stage) {
    this.stage = stage;
    this.at = { x: 0.5, y: 0.5 }; // shares of the picture
    this.keeping = null; // while a key brushes: whether that keeps the photo
    stage.canvas.addEventListener("keydown", (event) => stage.brushing && this.press(event));
    stage.canvas.addEventListener("keyup", (event) => isBrush(event) && this.lift());
    stage.canvas.addEventListener("focus", () => stage.draw());
    stage.canvas.addEventListener("blur", () => {
      this.lift();
      stage.draw();
    });
  }

  press(event) {
    if (event.key in SIZES) this.resize(SIZES[event.key]);
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key in MOVES) this.move(...MOVES[event.key].map((way) => way * (event.shiftKey ? STRIDE : STEP)));
    else if (isBrush(event)) this.lower(event);
    else return;
    event.preventDefault();
  }

  lower(event) {
    if (event.repeat) return;
    this.keeping = event.key === " " && !event.shiftKey && this.stage.mask.keep;
    this.stroke(this.at);
  }

  lift() {
    if (this.keeping === null) return;
    this.keeping = null;
    this.stage.onMask();
  }

  stroke(from) {
    this.stage.mask.stroke(this.stage.size, from, this.at, this.keeping);
    this.stage.draw();
  }

  // Go by shares of the short side, brushing where a key does.
  move(right, down) {
    const { width, height } = this.stage.size;
    const short = Math.min(width, height);
    const from = this.at;
    this.at = { x: within(from.x + (right * short) / width, 0, 1), y: within(from.y + (down * short) / height, 0, 1) };
    if (this.keeping !== null) this.stroke(from);
    this.stage.reveal(this.at);
    this.stage.onBrush(this);
  }

  resize(by) {
    const { mask } = this.stage;
    mask.size = within(mask.size + by, SMALLEST, LARGEST);
    this.stage.draw();
    this.stage.onBrush(this);
  }

  // A ring where the brush is, while keys move it.
  draw(context, box) {
    if (!this.stage.canvas.matches(":focus-visible")) return;
    const radius = (this.stage.mask.size / 200) * Math.min(box.width, box.height);
    context.beginPath();
    context.arc(box.left + this.at.x * box.width, box.top + this.at.y * box.height, radius, 0, 2 * Math.PI);
    for (const [width, color] of [[5, "#000"], [2, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
  }
}
