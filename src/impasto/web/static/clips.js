// Videos that are chosen: which files they are, and a frame of one to try styles on.

const SUFFIXES = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|m2ts|wmv|flv|ogv|3gp)$/i;
const PATIENCE = 20000; // milliseconds that a browser is given to show a frame

export const isVideo = (file) => file.type.startsWith("video/") || SUFFIXES.test(file.name ?? "");

function once(target, name) {
  return new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener("error", reject, { once: true });
    setTimeout(reject, PATIENCE);
  });
}

// A frame of a video and its length in seconds; null where the browser cannot show it.
export async function frameOf(file) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, preload: "auto" });
  const address = URL.createObjectURL(file);
  try {
    video.src = address;
    await once(video, "loadedmetadata");
    video.currentTime = Math.min(1, (Number.isFinite(video.duration) ? video.duration : 0) / 3); // the first is often black
    await once(video, "seeked");
    return { bitmap: await createImageBitmap(video), seconds: Number.isFinite(video.duration) ? video.duration : null };
  } catch {
    return null;
  } finally {
    video.removeAttribute("src");
    video.load(); // lets go of the file, which it would go on asking for
    URL.revokeObjectURL(address);
  }
}
