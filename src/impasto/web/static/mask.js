// The mask: a canvas over the picture, opaque where the photo is kept, and the brush that paints it.

const SIDE = 1024; // of the mask, at most

function like(canvas) {
  const other = document.createElement("canvas");
  other.width = canvas.width;
  other.height = canvas.height;
  return other;
}

export class Mask {
  constructor() {
    this.canvas = null; // while all is painted
    this.keep = true; // the photo, where it is brushed
    this.size = 12; // of the brush, in hundredths of the short side
  }

  clear() {
    this.canvas = null;
  }

  copy() {
    if (!this.canvas) return null;
    const copy = like(this.canvas);
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    return copy;
  }

  // Take up a copy that was made before.
  restore(canvas) {
    this.canvas = canvas;
    this.canvas = this.copy();
  }

  make({ width, height }) {
    if (this.canvas) return;
    const scale = Math.min(1, SIDE / Math.max(width, height));
    this.canvas = document.createElement("canvas");
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
  }

  // Brush over a picture of a size from one point to another, whose x and y are shares of it.
  stroke(picture, from, to, keep = this.keep) {
    this.make(picture);
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.globalCompositeOperation = keep ? "source-over" : "destination-out";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (this.size / 100) * Math.min(width, height);
    context.filter = "blur(2px)";
    context.beginPath();
    context.moveTo(from.x * width, from.y * height);
    context.lineTo(to.x * width + 0.01, to.y * height); // a line of no length would leave no dot
    context.stroke();
  }

  invert(picture) {
    this.make(picture);
    const context = this.canvas.getContext("2d");
    context.filter = "none";
    context.globalCompositeOperation = "xor";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // As it is shown over the picture.
  get tint() {
    const tint = like(this.canvas);
    const context = tint.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#ff2f92";
    context.fillRect(0, 0, tint.width, tint.height);
    return tint;
  }

  // As the server wants it, white where it is painted; null where all of it is.
  blob() {
    if (!this.canvas) return null;
    const canvas = like(this.canvas);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.canvas, 0, 0); // which is black
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}
