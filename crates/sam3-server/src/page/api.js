// The server's routes, as functions.

export class Refused extends Error {
  constructor(status, kind, message) {
    super(message);
    Object.assign(this, { status, kind });
  }
}

async function ask(method, path, options = {}) {
  let response;
  try {
    response = await fetch(path, { method, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "the server does not answer");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const { error } = await response.json().catch(() => ({ error: {} }));
  throw new Refused(response.status, error?.kind, error?.message ?? `the server answered ${response.status}`);
}

const json = (body, signal) => ({ body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

export const info = () => ask("GET", "/v1/info");
export const login = (token) => ask("POST", "/v1/session", { headers: { Authorization: `Bearer ${token}` } });
export const encode = (blob, signal) => ask("POST", "/v1/images", { body: blob, headers: { "Content-Type": "application/octet-stream" }, signal });
export const segment = (id, body, signal) => ask("POST", `/v1/images/${id}/segment`, json(body, signal));
export const click = (id, body, signal) => ask("POST", `/v1/images/${id}/click`, json(body, signal));
export const streams = () => ask("GET", "/v1/streams");
export const stream = (name) => ask("GET", `/v1/streams/${name}`);
export const tellStream = (name, body) => ask("POST", `/v1/streams/${name}/prompts`, json(body));
export const stopObject = (name, id) => ask("DELETE", `/v1/streams/${name}/objects/${id}`);
export const socket = (name) => new URL(`/v1/streams/${name}/socket`, location.href.replace(/^http/, "ws"));
export const forget = (id) => fetch(`/v1/images/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
