/** One websocket of a stream, from the handshake to the close, and the errors that it throws. */

import { Inbox } from "./inbox.js";

export const PATH = "/v1/stream";
const SUBPROTOCOL = "earshot";

/** Close codes after which a new attempt would fail the same way. */
const FATAL_CLOSE_CODES = new Set([1002, 1003, 1007, 1008, 1009, 1010]);
/** The close code of a connection that was lost without a close frame. */
const NO_CLOSE_FRAME_CODE = 1006;
/** Codes of `error` messages after which a new attempt may succeed. */
const TRANSIENT_ERROR_CODES = new Set([
  "internal_error",
  "shutting_down",
  "full",
  "language_unavailable",
  "too_many_connections",
  "too_many_streams",
  "channel_taken",
  "slow_reader",
  "idle",
  "silent",
]);
/** HTTP statuses of a server or proxy after which a new attempt may succeed. */
const BUSY_HTTP_STATUSES = new Set([429, 502, 503, 504]);
const LONGEST_MESSAGE = 300;

/**
 * In seconds.
 *
 * connect     for the handshake; after many failures Chromium holds new websockets back for up to 5 s
 * silence     for any message from the server after the client sent one; then the connection counts as lost
 * keepalive   without audio to send, after which a keepalive message is sent
 * close       for the closing handshake
 * firstWait, longestWait    between attempts to reconnect, see Backoff
 */
export const TIMEOUTS = { connect: 10, silence: 20, keepalive: 10, close: 2, firstWait: 0.1, longestWait: 5 };

/**
 * The server refused or ended the stream, or the connection was lost.
 *
 * code        the code of the server's `error` message; or unreachable, unauthorized, timeout, lost, closed, after_stop
 * transient   a new attempt may succeed
 */
export class StreamError extends Error {
  constructor(code, message, { transient = false } = {}) {
    super(String(message).slice(0, LONGEST_MESSAGE));
    this.name = "StreamError";
    this.code = code;
    this.transient = transient;
  }
}

/** An open connection. Made by `openConnection`, which sets `ready`, the server's first message. */
export class Connection {
  ready = null;
  #socket;
  #timeouts;
  #inbox = new Inbox();
  #silence = null; // a timer, which runs while an answer is expected
  #admitted = false;
  #stopped = false;
  #error = null; // the server's `error` message; the close frame follows

  constructor(socket, timeouts) {
    this.url = socket.url;
    this.#socket = socket;
    this.#timeouts = timeouts;
    socket.onmessage = ({ data }) => this.#heard(data);
    socket.onclose = ({ code, reason }) => this.#end(this.#lost(code, reason));
  }

  /** Bytes that the browser holds because the network, or the server, is slow. */
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  /** Sends a Uint8Array or a message. If the connection is lost, `receive` throws the reason. */
  send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#startSilenceTimer();
    this.#stopped ||= message.type === "stop";
    this.#socket.send(message instanceof Uint8Array ? message : JSON.stringify(message));
  }

  /** Returns the next message. Throws StreamError at an `error` message and when the connection has ended. */
  async receive() {
    const message = await this.#inbox.get();
    if (message === null) throw new StreamError("closed", `the connection to ${this.url} was closed`);
    return message;
  }

  /** Ends the connection at once, whatever is on its way. */
  abort(failure = null) {
    this.#stopSilenceTimer();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#inbox.close(failure);
  }

  #heard(data) {
    this.#stopSilenceTimer();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return this.abort(new StreamError("invalid", `${this.url} sent what is no JSON: is that an Earshot server?`));
    }
    if (message.type === "error") {
      this.#error = message;
      setTimeout(() => this.#end(this.#lost(NO_CLOSE_FRAME_CODE, "")), this.#timeouts.close * 1000);
      return;
    }
    this.#admitted ||= message.type === "ready";
    this.#inbox.put(message);
    const more = this.#stopped || !this.#admitted; // messages must come without being asked for
    if (more && message.type !== "done") this.#startSilenceTimer();
  }

  #end(failure) {
    if (!this.#inbox.closed) this.abort(failure);
  }

  #lost(code, reason) {
    if (this.#error) {
      const { code: error, message } = this.#error;
      const transient = code === NO_CLOSE_FRAME_CODE ? TRANSIENT_ERROR_CODES.has(error) : !FATAL_CLOSE_CODES.has(code);
      return new StreamError(error, message, { transient });
    }
    const why = code === NO_CLOSE_FRAME_CODE ? "" : `: ${code} ${reason}`;
    const transient = !FATAL_CLOSE_CODES.has(code);
    return new StreamError("lost", `the connection to ${this.url} was lost${why}`, { transient });
  }

  #startSilenceTimer() {
    this.#silence ??= setTimeout(() => {
      const text = `${this.url} has sent nothing for ${this.#timeouts.silence} s`;
      this.abort(new StreamError("timeout", text, { transient: true }));
    }, this.#timeouts.silence * 1000);
  }

  #stopSilenceTimer() {
    clearTimeout(this.#silence);
    this.#silence = null;
  }
}

/**
 * Connects, sends `start` and waits for `ready`. Throws StreamError. While a server loads the language that `start`
 * names, it sends acks.
 *
 * signal   an AbortSignal, upon which the attempt ends with a StreamError
 */
export async function openConnection(url, start, { token, timeouts, signal }) {
  const connection = new Connection(await connect(url, token, timeouts, signal), timeouts);
  const abort = () => connection.abort(new StreamError("closed", "the stream was closed"));
  signal.addEventListener("abort", abort);
  try {
    connection.send(start);
    let first = await connection.receive();
    while (first.type === "ack") first = await connection.receive();
    if (first.type !== "ready") {
      throw new StreamError("invalid", `the first message from ${url} is ${first.type}; an Earshot server sends ready`);
    }
    connection.ready = first;
    return connection;
  } catch (error) {
    connection.abort();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A server's URL with the protocol's path, if it has none; http and https become ws and wss. */
export function withDefaultPath(url) {
  let parts;
  try {
    parts = new URL(url);
  } catch {
    parts = null;
  }
  const scheme = { "ws:": "ws:", "wss:": "wss:", "http:": "ws:", "https:": "wss:" }[parts?.protocol];
  if (!scheme) throw new StreamError("invalid", `${url} is not the URL of a server; one looks like ws://127.0.0.1:8765`);
  const path = parts.pathname === "/" ? PATH : parts.pathname;
  return `${scheme}//${parts.host}${path}${parts.search}`;
}

/** Opens the websocket. Throws StreamError. */
export function connect(url, token, timeouts, signal) {
  return new Promise((resolve, reject) => {
    let socket;
    try {
      socket = new WebSocket(url, token ? [SUBPROTOCOL, `${SUBPROTOCOL}.token.${encoded(token)}`] : []);
    } catch (error) {
      return reject(new StreamError("invalid", `${url} can't be connected to: ${error.message}`));
    }
    socket.binaryType = "arraybuffer";
    const timer = setTimeout(
      () => fail(new StreamError("timeout", `no answer from ${url}`, { transient: true })),
      timeouts.connect * 1000,
    );
    const abort = () => fail(new StreamError("closed", "the stream was closed"));
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      socket.onopen = socket.onclose = null;
    };
    const fail = (error) => {
      settle();
      socket.close();
      reject(error);
    };
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    socket.onclose = async () => {
      settle();
      reject(await whyNot(url, token, timeouts));
    };
    socket.onopen = () => {
      settle();
      resolve(socket);
    };
  });
}

/** Why a handshake failed, which a browser does not tell: the same path is asked for as a page. */
async function whyNot(url, token, timeouts) {
  const page = url.replace(/^ws/, "http");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch(page, { headers, cache: "no-store", signal: AbortSignal.timeout(timeouts.connect * 1000) });
    const text = (await answer.text()).trim();
    if (answer.status === 401) return new StreamError("unauthorized", text || "the server wants a token");
    if (answer.status === 403) return new StreamError("forbidden", text);
    const transient = answer.status === 426 || BUSY_HTTP_STATUSES.has(answer.status); // 426: it would be possible now
    const advice = transient ? "it is not ready, try again in a moment" : "is that an Earshot server?";
    return new StreamError("unreachable", `${url} answered with HTTP ${answer.status}: ${advice}`, { transient });
  } catch {
    return new StreamError("unreachable", `no server at ${url}: start one with \`earshot serve\``, { transient: true });
  }
}

/** A token as a sub-protocol may hold it, which has fewer characters than a header: others are percent-encoded. */
const encoded = (token) =>
  encodeURIComponent(token).replace(/[()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
