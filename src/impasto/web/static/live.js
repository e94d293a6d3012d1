// The webcam, painted by the server: one frame is on its way at a time, so that it never lags behind.

const SIDE = 480;

export class Live {
  constructor(video, { show, fail, settings }) {
    Object.assign(this, { video, show, fail, settings });
    this.canvas = document.createElement("canvas");
    this.running = false;
    this.starting = null; // while the browser asks whether the camera may be used
  }

  // Started twice, it is started once.
  start() {
    this.starting ??= this.open().finally(() => (this.starting = null));
    return this.starting;
  }

  async open() {
    this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, facingMode: "user" }, audio: false });
    this.video.srcObject = this.stream;
    await this.video.play();
    const scale = Math.min(1, SIDE / Math.max(this.video.videoWidth, this.video.videoHeight));
    this.canvas.width = Math.round(this.video.videoWidth * scale);
    this.canvas.height = Math.round(this.video.videoHeight * scale);
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`);
    this.socket.binaryType = "blob";
    this.socket.onopen = () => this.tell();
    this.socket.onmessage = (event) => this.hear(event.data);
    this.socket.onclose = () => this.end(this.refused ?? { code: "offline", message: "" });
    this.running = true;
  }

  // Send the settings; the answer to them starts the frames.
  async tell() {
    const settings = JSON.stringify({ ...(await this.settings()), quality: 80 });
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(settings);
  }

  async hear(data) {
    if (!this.running) return;
    if (data instanceof Blob) {
      this.waiting = false;
      this.refused = null;
      this.show(await createImageBitmap(data), this.canvas);
    } else {
      const { error } = JSON.parse(data);
      if (error) {
        this.waiting = false;
        if (error.code !== "busy") return this.end(error);
        this.refused = error; // if the server closes now, this is why
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    }
    if (!this.waiting) this.send();
  }

  async send() {
    if (!this.running) return;
    this.waiting = true;
    const context = this.canvas.getContext("2d");
    context.setTransform(-1, 0, 0, 1, this.canvas.width, 0); // as in a mirror
    context.drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    const frame = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", 0.85));
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(frame);
  }

  // A photo of what the camera sees now, as large as it sees it.
  picture() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    const context = canvas.getContext("2d");
    context.setTransform(-1, 0, 0, 1, canvas.width, 0);
    context.drawImage(this.video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  }

  end(error) {
    this.stop();
    this.fail(error);
  }

  stop() {
    this.running = this.waiting = false;
    this.refused = null;
    if (this.socket) this.socket.onclose = this.socket.onmessage = null; // what still comes is not for the next one
    this.socket?.close();
    this.socket = null;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }
}
