// The photo, or the frame of a video, that is painted: how it is opened, and the smaller copies that are sent.

import { ApiError, getBlob } from "/static/api.js";
import { frameOf, isVideo } from "/static/clips.js";
import { $, fail, setBusy, tell } from "/static/page.js";
import { enlarged, scaled } from "/static/pictures.js";
import { duration } from "/static/text.js";

const PREVIEW = 560; // long side of what answers a slider at once
export const SHOWN = 2048; // long side of what is shown; a download is painted at full size
const THUMBNAIL = 224;

export class Photo {
  constructor({ server, decode, opening, opened, offer }) {
    Object.assign(this, { server, decode, opening, opened, offer });
    Object.assign(this, { file: null, bitmap: null, shown: null, preview: null, thumb: null, isSample: true, clip: null });
    this.count = 0; // of what was chosen: of several on their way, the last one is shown
  }

  async open(file) {
    if (file) await (isVideo(file) ? this.openVideo(file) : this.openPhoto(file));
  }

  // Show a frame of a video, to try styles on, where the browser can.
  async openVideo(file) {
    const { limits, jobs } = this.server();
    const { video_mb: megabytes, video_minutes: minutes } = limits;
    try {
      if (!jobs.video) throw new ApiError("no_video", "");
      if (file.size > megabytes * 1e6) throw new ApiError("too_large", `${Math.round(file.size / 1e6)} MB > ${megabytes} MB`);
      const mine = ++this.count;
      setBusy(true);
      const found = await frameOf(file);
      if (mine !== this.count) return;
      if (found?.seconds > 60 * minutes + 1) {
        throw new ApiError("too_large", `${duration(found.seconds)} > ${duration(60 * minutes)}`);
      }
      const clip = { file, seconds: found?.seconds, seen: Boolean(found) };
      if (found) {
        await this.openPhoto(await scaled(found.bitmap, SHOWN, "image/jpeg", 0.95), { clip });
      } else {
        this.clip = clip;
        setBusy(false);
        $("welcome").hidden = true;
        this.offer();
      }
      tell($("clip-told").textContent);
    } catch (error) {
      setBusy(false);
      fail(error);
    }
  }

  async openPhoto(file, { isSample = false, clip = null } = {}) {
    const mine = ++this.count;
    this.opening();
    setBusy(true);
    try {
      const bitmap = await this.decode(file);
      const [shown, preview, thumb] = await Promise.all([SHOWN, PREVIEW, THUMBNAIL].map((side) => scaled(bitmap, side)));
      if (mine !== this.count) return;
      Object.assign(this, { file, bitmap, shown, preview, thumb, isSample, clip });
      this.opened();
    } catch (error) {
      if (mine !== this.count) return;
      setBusy(false);
      fail(error instanceof ApiError ? error : new ApiError("not_image", String(error)));
    }
  }

  // The sample is small: painted larger, its strokes are as fine as a photo's.
  async openSample() {
    const blob = await enlarged(await createImageBitmap(await getBlob("/v1/sample")), 3);
    if (!this.count) await this.openPhoto(blob, { isSample: true });
  }
}
