// When what is painted: a small picture at once when something is moved, and the full one when it rests.

import { fail, setBusy } from "/static/page.js";

const REST = 180; // milliseconds after the last move before the full picture is painted

export class Painter {
  constructor({ preview, full, show, painted }) {
    this.paint = { preview, full };
    Object.assign(this, { show, painted });
    this.version = 0; // of what is asked for
    this.shown = -1; // version of the full picture that is shown
    this.controller = null; // stops the full picture on its way
    this.timer = 0;
    this.previewing = this.again = false; // a preview is on its way, and another is wanted after it
  }

  change() {
    this.interrupt();
    this.preview();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.full(), REST);
  }

  // What is on its way is no longer wanted.
  interrupt() {
    this.version++;
    this.controller?.abort();
    this.controller = null;
  }

  // What is shown now is no work of ours, and stays until something is moved.
  rest() {
    this.interrupt();
    clearTimeout(this.timer);
    this.shown = this.version;
  }

  async preview() {
    if (this.previewing) {
      this.again = true;
      return;
    }
    const mine = this.version;
    this.previewing = true;
    try {
      const bitmap = await createImageBitmap(await this.paint.preview());
      if (this.shown < mine) this.show(bitmap);
    } catch (error) {
      fail(error);
    }
    this.previewing = false;
    if (this.again) {
      this.again = false;
      this.preview();
    }
  }

  async full() {
    const mine = this.version;
    const controller = (this.controller = new AbortController());
    setBusy(true);
    try {
      const bitmap = await createImageBitmap(await this.paint.full(controller.signal));
      if (mine !== this.version) return;
      this.shown = mine;
      this.show(bitmap);
      this.painted(bitmap);
    } catch (error) {
      fail(error);
    } finally {
      if (this.controller === controller || this.controller === null) setBusy(false);
    }
  }
}
