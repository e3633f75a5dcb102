/** What is said in a channel: its messages, also after a connection that was lost. */

import { Backoff } from "./backoff.js";
import { connect, StreamError, TIMEOUTS, withDefaultPath } from "./connection.js";
import { Inbox } from "./inbox.js";

/** Who comes again is told the last finals again: so many are known. */
const REMEMBERED_FINALS = 40;
const PATH = "/v1/watch/";

/**
 *     for await (const message of new Watching("ws://localhost:8765", "stage")) ...
 *
 * Messages are `watching` (whether somebody speaks), `partial` and `final`, and of its own `waiting` (no connection; it
 * is tried again without end) and `connected`. close() ends it. Throws StreamError for what another attempt would not
 * mend, such as a wrong token.
 */
export class Watching {
  #url;
  #token;
  #timeouts;
  #told = [];
  #closing = new AbortController();

  /** url: of the server. token: if it wants one */
  constructor(url, channel, { token = null, timeouts = {} } = {}) {
    this.#url = new URL(PATH + encodeURIComponent(channel), withDefaultPath(url)).href;
    this.#token = token;
    this.#timeouts = { ...TIMEOUTS, ...timeouts };
  }

  close() {
    this.#closing.abort();
  }

  async *[Symbol.asyncIterator]() {
    const backoff = new Backoff(Infinity, this.#timeouts.firstWait, this.#timeouts.longestWait);
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const socket = await connect(this.#url, this.#token, this.#timeouts, signal);
        backoff.found();
        yield { type: "connected" };
        for await (const message of messages(socket, signal)) {
          backoff.achieved();
          if (message.type !== "final" || this.#isNew(message)) yield message;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof StreamError) || !error.transient) throw error;
      }
      if (signal.aborted) return;
      yield { type: "waiting" };
      backoff.lost();
      await new Promise((resolve) => setTimeout(resolve, 1000 * backoff.wait()));
    }
  }

  #isNew(final) {
    const text = JSON.stringify(final);
    if (this.#told.includes(text)) return false;
    this.#told = [...this.#told, text].slice(-REMEMBERED_FINALS);
    return true;
  }
}

/** What a socket receives until it is closed. */
async function* messages(socket, signal) {
  const inbox = new Inbox();
  socket.onmessage = ({ data }) => inbox.put(JSON.parse(data));
  socket.onclose = () => inbox.close();
  const close = () => socket.close();
  signal.addEventListener("abort", close);
  try {
    for (let message; (message = await inbox.get()) !== null; ) yield message;
  } finally {
    signal.removeEventListener("abort", close);
    socket.close();
  }
}
