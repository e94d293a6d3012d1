// What the server can do, as functions. Every failure is an ApiError with the server's code and words.

export class ApiError extends Error {
  constructor(code, message, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("offline", "the server cannot be reached");
  }
  if (answer.ok) return answer;
  throw failure(answer.status, await answer.json().catch(() => null), answer.headers.get("Retry-After"));
}

const failure = (status, said, retryAfter) =>
  new ApiError(said?.error?.code ?? "failed", said?.error?.message ?? `${status}`, Number(retryAfter));

export const getJson = async (path) => (await ask(path)).json();
export const getBlob = async (path, signal) => (await ask(path, { signal })).blob();

function formOf(fields, files) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== null && value !== undefined) form.append(name, value);
  for (const [name, file] of files) if (file) form.append(name, file, name);
  return form;
}

// Paints a photo, where the mask is, and after the painting where there is one; told to wait, it waits and asks again.
export async function stylize({ photo, mask, painting }, fields, signal) {
  for (let tries = 0; ; tries++) {
    try {
      const body = formOf(fields, [["photo", photo], ["mask", mask], ["painting", painting]]);
      return await (await ask("/v1/stylize", { method: "POST", body, signal })).blob();
    } catch (error) {
      if (error.code !== "busy" || tries === 5) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
      signal?.throwIfAborted();
    }
  }
}

export const submit = async (fields, files) =>
  (await ask("/v1/jobs", { method: "POST", body: formOf(fields, files) })).json();

// Begins a job whose files take a while to send; tells the share that has gone. Fetch cannot tell that yet.
export const send = (fields, files, { told, signal }) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && told(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(request.response);
      else reject(failure(request.status, request.response, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("error", () => reject(new ApiError("offline", "the server cannot be reached")));
    request.addEventListener("abort", () => reject(new DOMException("given up", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(formOf(fields, files));
  });

export const cancel = (id) => ask(`/v1/jobs/${id}`, { method: "DELETE" });

const ENDED = ["done", "failed", "cancelled"];

export const hasEnded = (job) => ENDED.includes(job.state);

// Tells of a job until it has ended; returns what stops listening.
export function watch(id, told) {
  const source = new EventSource(`/v1/jobs/${id}/events`);
  const hear = (event) => {
    const job = JSON.parse(event.data);
    told(job);
    if (hasEnded(job)) source.close();
  };
  for (const state of ["waiting", "running", ...ENDED]) source.addEventListener(state, hear);
  return () => source.close();
}
