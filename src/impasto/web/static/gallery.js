// The styles: the server's, and paintings of the visitor's own, with a small picture of each.

import { getJson } from "/static/api.js";
import { fail } from "/static/page.js";
import { scaled } from "/static/pictures.js";
import { say, styleName } from "/static/text.js";

const AT_ONCE = 3; // thumbnails on their way
const PAINTING = 1024; // long side of a painting of one's own: its statistics are taken no larger
const PAINTINGS = 4; // that are kept, as many as the server keeps

const release = (source) => source?.startsWith("blob:") && URL.revokeObjectURL(source);

export class Gallery {
  constructor(element, about, { state, choose, paint, decode, shown }) {
    Object.assign(this, { element, about, state, choose, paint, decode, shown });
    this.styles = [];
    this.paintings = []; // of the visitor's own, which are styles too
    this.count = 0; // of all paintings that there were
    this.controller = null; // stops the thumbnails on their way
    this.thumbnails = new Map();
  }

  find(name) {
    return this.styles.find((style) => style.name === name);
  }

  get chosen() {
    return this.find(this.state.style);
  }

  async load() {
    this.styles = [...this.paintings, ...(await getJson("/v1/styles"))];
    for (const { name, own } of this.styles) {
      if (!own && !this.thumbnails.has(name)) this.thumbnails.set(name, `/v1/styles/${name}/thumbnail`);
    }
    this.show();
  }

  show() {
    this.element.replaceChildren(...this.styles.map((style) => this.button(style)));
    this.mark();
    this.shown();
  }

  button(style) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("role", "radio");
    button.dataset.style = style.name;
    const thumb = Object.assign(document.createElement("span"), { className: "thumb" });
    const image = Object.assign(new Image(), { alt: "", draggable: false });
    image.addEventListener("load", () => image.classList.add("there"));
    if (this.thumbnails.has(style.name)) image.src = this.thumbnails.get(style.name);
    thumb.append(image);
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: styleName(style) });
    button.append(thumb, name);
    button.addEventListener("click", () => this.choose(style.name));
    return button;
  }

  // Mark the style that is chosen, and tell of it.
  mark() {
    for (const button of this.element.children) {
      const isIt = button.dataset.style === this.state.style;
      button.setAttribute("aria-checked", isIt);
      button.tabIndex = isIt ? 0 : -1;
    }
    this.about.textContent = this.words(this.chosen);
  }

  words(style) {
    if (!style) return "";
    if (style.painting) return say("painting_about");
    if (style.own) return say("own");
    const artist = [style.artist, style.year].filter(Boolean).join(", ");
    return artist ? say("by", { title: style.title, artist }) : style.title;
  }

  setThumbnail(name, source) {
    const old = this.thumbnails.get(name);
    this.thumbnails.set(name, source);
    const image = this.element.querySelector(`[data-style="${name}"] img`);
    if (image) image.src = source;
    this.shown();
    release(old);
  }

  async paintThumbnail(style, signal) {
    this.setThumbnail(style.name, URL.createObjectURL(await this.paint(style, signal)));
  }

  // Every style on this photo, a few at a time.
  async paintThumbnails() {
    this.controller?.abort();
    const { signal } = (this.controller = new AbortController());
    const waiting = [...this.styles];
    const next = async () => {
      while (waiting.length && !signal.aborted) await this.paintThumbnail(waiting.shift(), signal);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next)).catch(fail);
  }

  // A painting of one's own becomes a style, whose name is returned. The server takes its statistics once; what is sent
  // for that is small.
  async addPainting(file, largest) {
    const small = await scaled(await this.decode(file), PAINTING);
    const number = ++this.count;
    const style = {
      name: `painting-${number}`,
      own: true,
      strength: 1,
      painting: small,
      whole: file.size <= largest ? file : small, // whose hash a recipe has
      get title() {
        return number > 1 ? say("your_painting_n", { n: number }) : say("your_painting");
      },
    };
    this.paintings.unshift(style);
    for (const { name } of this.paintings.splice(PAINTINGS)) {
      release(this.thumbnails.get(name));
      this.thumbnails.delete(name);
    }
    return style.name;
  }
}
