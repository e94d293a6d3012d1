// Long work: the forms that begin it, and a card for each job that tells how far it is.

import { cancel, getJson, hasEnded, send, submit, watch } from "/static/api.js";
import { duration, say } from "/static/text.js";

export class Work {
  constructor({ list, optimise, train, photo, fail, show, useStyle, nameOf }) {
    Object.assign(this, { list, optimise, train, photo, fail, show, useStyle, nameOf });
    this.cards = new Map();
    this.form(optimise, async (fields, painting) => [
      { kind: "optimisation", ...fields },
      [["photo", await this.photo()], ["painting", painting]],
    ]);
    this.form(train, async (fields, painting) => {
      const given = [...train.elements.photo.files];
      const photos = given.length || this.info.has_photos ? given : [await this.photo()];
      return [{ kind: "training", ...fields }, [["painting", painting], ...photos.map((photo) => ["photo", photo])]];
    });
  }

  // Show what this server can do, and take up what it does already.
  async begin(info, none) {
    this.info = info;
    this.optimise.hidden = !info.jobs.optimisation;
    this.train.hidden = !info.jobs.training;
    none.hidden = info.jobs.optimisation || info.jobs.training;
    this.train.elements.minutes.max = info.limits.longest_training;
    this.train.elements.minutes.value = Math.min(10, info.limits.longest_training);
    this.train.querySelector("#train-photos").hidden = info.has_photos;
    for (const option of [...this.optimise.elements.size.options]) {
      if (Number(option.value) > info.limits.largest_optimisation) option.remove();
    }
    for (const job of (await getJson("/v1/jobs")).reverse()) this.add(job);
  }

  form(form, request) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("[type=submit]");
      button.disabled = true;
      try {
        const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === "string"));
        this.add(await submit(...(await request(fields, form.elements.painting.files[0]))));
      } catch (error) {
        this.fail(error);
      }
      button.disabled = false;
    });
  }

  // Send a video, with a card that tells how much of it has gone, and have it painted.
  async video(fields, files, name) {
    const sending = new Sending(say("job_video", { name }));
    this.put(sending.element);
    try {
      const options = { told: (share) => sending.tell(share), signal: sending.signal };
      this.add(await send({ kind: "video", ...fields }, files, options));
    } catch (error) {
      this.fail(error);
    }
    sending.element.remove();
  }

  put(element) {
    this.list.prepend(element);
    element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  add(job) {
    const card = new Card(job, {
      nameOf: this.nameOf,
      fail: this.fail,
      show: this.show,
      useStyle: this.useStyle,
      removed: () => this.cards.delete(job.id),
    });
    this.cards.set(job.id, card);
    this.put(card.element);
  }

  translate() {
    for (const card of this.cards.values()) card.write();
  }
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A video on its way to the server.
class Sending {
  constructor(title) {
    const giveUp = new AbortController();
    this.signal = giveUp.signal;
    this.told = make("p", { className: "note" });
    this.told.setAttribute("role", "status");
    this.bar = make("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", title);
    const end = make("button", { type: "button", textContent: say("cancel") });
    end.addEventListener("click", () => giveUp.abort());
    const row = make("div", { className: "row" }, end);
    this.element = make("article", { className: "card job" }, make("h2", { textContent: title }), this.told, this.bar, row);
    this.tell(0);
  }

  tell(share) {
    this.bar.value = share;
    this.told.textContent = say(share < 1 ? "sending" : "starting", { percent: Math.floor(100 * share) });
  }
}

class Card {
  constructor(job, { nameOf, fail, show, useStyle, removed }) {
    Object.assign(this, { nameOf, fail, show, useStyle, removed });
    this.curve = [];
    this.title = make("h2");
    this.told = make("p", { className: "note" });
    this.told.setAttribute("role", "status");
    this.bar = make("progress", { max: 1, value: 0 });
    this.image = make("img", { hidden: true });
    this.chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.chart.setAttribute("viewBox", "0 0 300 70");
    this.chart.setAttribute("preserveAspectRatio", "none");
    this.chart.setAttribute("role", "img");
    this.chart.classList.add("curve");
    this.line = this.chart.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
    this.line.setAttribute("vector-effect", "non-scaling-stroke");
    this.end = make("button", { type: "button" });
    this.end.addEventListener("click", () => this.cancel());
    this.row = make("div", { className: "row" }, this.end);
    this.element = make("article", { className: "card job" }, this.title, this.told, this.bar, this.image, this.chart, this.row);
    this.element.dataset.job = job.id;
    this.tell(job);
    if (job.state !== "failed") {
      getJson(`/v1/jobs/${job.id}`).then((whole) => (this.curve = whole.curve.map(([step, loss]) => [step, loss])), () => {});
      this.stop = watch(job.id, (told) => this.tell(told));
    }
  }

  tell(job) {
    this.job = job;
    this.write();
    if (job.loss !== undefined && job.loss !== null && job.step !== this.curve.at(-1)?.[0]) this.curve.push([job.step, job.loss]);
    this.plot();
    if (job.has_picture && (job.state === "done" || performance.now() - (this.asked ?? 0) > 1000)) this.look(job);
  }

  // What it says, in the language of the page.
  write() {
    const { job } = this;
    this.title.textContent = say(`job_${job.kind}`, { name: job.kind === "video" ? this.nameOf(job.name) : job.name });
    this.bar.value = job.progress;
    this.bar.setAttribute("aria-label", this.title.textContent);
    this.bar.hidden = hasEnded(job);
    this.told.textContent = this.words(job);
    this.end.textContent = say(hasEnded(job) ? "remove" : "cancel");
    this.image.alt = say("sheet");
    this.chart.setAttribute("aria-label", say("curve"));
    if (job.state === "done") this.finish(job);
  }

  words(job) {
    if (job.state === "waiting") return say("waiting", { ahead: job.ahead });
    if (job.state === "running") {
      if (!job.step) return say("starting");
      if (job.kind === "video") return this.frames(job);
      return say("running", { percent: Math.round(100 * job.progress), left: duration(job.seconds_left ?? 0) });
    }
    return job.state === "failed" ? `${say("failed")}: ${job.error}` : say(job.state);
  }

  frames(job) {
    if (!job.steps) return say("running_frames", { step: job.step, rate: job.frames_per_second.toFixed(1) });
    if (job.step >= job.steps) return say("joining");
    const left = duration(job.seconds_left ?? 0);
    return say("running_video", { step: job.step, steps: job.steps, rate: job.frames_per_second.toFixed(1), left });
  }

  look(job) {
    this.asked = performance.now();
    const next = new Image();
    next.src = `/v1/jobs/${job.id}/picture?step=${job.step}`;
    next.decode().then(() => {
      this.image.src = next.src;
      this.image.hidden = Boolean(this.player);
      if (job.kind === "optimisation" || (job.kind === "video" && job.state === "running")) this.show(next);
    }, () => {}); // it was just replaced: the next one comes
  }

  plot() {
    const values = this.curve.map(([, loss]) => Math.log(Math.max(1e-6, loss)));
    this.chart.toggleAttribute("hidden", values.length < 3);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const last = this.curve.at(-1)?.[0] || 1;
    const points = this.curve.map(([step], i) => `${(300 * step) / last},${66 - (62 * (values[i] - low)) / (high - low || 1)}`);
    this.line.setAttribute("points", points.join(" "));
  }

  finish(job) {
    const saved = { training: "save_style", optimisation: "save_picture", video: "save_video" }[job.kind];
    const link = make("a", { href: `/v1/jobs/${job.id}/result`, textContent: say(saved) });
    link.setAttribute("download", "");
    this.link?.remove();
    this.link = link;
    if (job.kind === "video") {
      this.row.prepend(link);
      this.play(link.href);
      return;
    }
    this.use?.remove();
    this.use = make("button", { type: "button", className: "primary", textContent: say(job.kind === "training" ? "use_style" : "show") });
    this.use.addEventListener("click", () => (job.kind === "training" ? this.useStyle(job.id) : this.look(job)));
    this.row.prepend(this.use, link);
  }

  play(address) {
    if (!this.player) {
      this.image.hidden = true;
      this.player = make("video", { controls: true, playsInline: true, preload: "metadata", src: address });
      this.row.before(this.player);
    }
    this.player.setAttribute("aria-label", say("player"));
  }

  async cancel() {
    this.end.disabled = true;
    this.stop?.();
    try {
      await cancel(this.job.id);
    } catch (error) {
      if (error.code !== "unknown_job") this.fail(error);
    }
    this.element.remove();
    this.removed();
  }
}
