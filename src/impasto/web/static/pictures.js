// Pictures in the browser: made larger or smaller, and written as what is sent.

const written = (canvas, type, quality) => new Promise((resolve) => canvas.toBlob(resolve, type, quality));

function drawn(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// A picture whose long side is at most `side`, as a file.
export const scaled = (bitmap, side, type = "image/webp", quality = 0.92) =>
  written(drawn(bitmap, Math.min(1, side / Math.max(bitmap.width, bitmap.height))), type, quality);

export const enlarged = (bitmap, times) => written(drawn(bitmap, times), "image/jpeg", 0.95);

export const inBase64 = (blob) =>
  new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.readAsDataURL(blob);
  });
