/**
 * The client library: sends audio to a server and yields its messages; reconnects if the connection is lost.
 *
 *     import { Stream, FileAudio } from "http://localhost:8765/page/client.js";
 *
 *     const stream = new Stream("ws://localhost:8765");
 *     stream.play(new FileAudio(file));
 *     for await (const message of stream) {
 *       if (message.type === "final") console.log(message.text);
 *     }
 *
 * Messages are those of the protocol (PROTOCOL.md), and between them
 *
 *     {type: "waiting", attempt, reason, kept}        no server has admitted the stream yet, an attempt follows
 *     {type: "connected", url}                        a server has admitted the stream, for which it had to wait
 *     {type: "reconnecting", attempt, reason, kept}   the connection is lost, an attempt to reconnect follows
 *     {type: "resumed", url, replayed}                the stream goes on; `replayed`: seconds that are sent again
 *
 * `kept`: seconds of audio that have no final text yet, and are kept.
 */

import { Backoff } from "./backoff.js";
import { openConnection, StreamError, TIMEOUTS, withDefaultPath } from "./connection.js";
import { Continuity } from "./continuity.js";
import { Inbox } from "./inbox.js";
import { Replay } from "./replay.js";

export { FileAudio } from "./file.js";
export { Microphone } from "./microphone.js";
export { SAMPLE_RATE } from "./replay.js";
export { Resampler, toPcm } from "./resample.js";
export { StreamError } from "./connection.js";
export { Watching } from "./watch.js";

/** Maximum amount of audio that waits to be sent while there is a connection, in seconds. */
const MAX_UNSENT_SECONDS = 10;
/** So much the browser may hold to be sent; more stays here. */
const HIGH_WATER_BYTES = 256 * 1024;
/** How often a full browser is looked at. */
const LOOK_MS = 20;
/** Minimum of `keep`: room for the longest utterance, its context, and the audio that a server reads ahead. */
const MIN_KEEP_SECONDS = 60;

export class Stream {
  /** The server's first message, once the stream is admitted. */
  ready = null;
  #start;
  #token;
  #timeouts;
  #backoff;
  #replay;
  #continuity = new Continuity();
  #inbox = new Inbox();
  #connection = null; // while there is one
  #closing = new AbortController();
  #waitingForRoom = [];
  #timer = null; // for the next look at what there is to send

  /**
   * url       ws://HOST:PORT, with or without a path
   * token     if the server wants one
   * retry     seconds to try to connect, at the start and after the connection is lost; 0: there is one attempt
   * keep      maximum amount of audio that waits to be sent or for its final text, in seconds of 16 kHz PCM; beyond that
   *           `send` waits
   * timeouts  see TIMEOUTS in connection.js
   * options   fields of the message `start`: partials, words, commit, language, hotwords, endpoint_ms, ...
   *
   * Connects at once; audio may be sent before a server is there.
   */
  constructor(url, { token = null, retry = 300, keep = 300, timeouts = {}, ...options } = {}) {
    this.url = withDefaultPath(url);
    if (!(keep >= MIN_KEEP_SECONDS)) throw new RangeError(`keep is ${keep} s; it must be at least ${MIN_KEEP_SECONDS} s`);
    this.#token = token;
    this.#timeouts = { ...TIMEOUTS, ...timeouts };
    this.#start = { ...options, type: "start" };
    this.#backoff = new Backoff(retry, this.#timeouts.firstWait, this.#timeouts.longestWait);
    this.#replay = new Replay(null, keep);
    this.#serve().then(
      () => this.#end(),
      (error) => this.#end(error),
    );
  }

  /** Sends 16-bit samples (Int16Array), or bytes in the encoding of the stream. Waits while the queue is full. */
  async send(audio) {
    await this.#room();
    this.#mayFollow();
    this.#replay.audio(toBytes(audio));
    this.#pump();
  }

  /** Makes all text so far final. The server answers with a final, if there are words, and an ack. */
  async flush() {
    await this.#room();
    this.#mayFollow();
    this.#replay.flush();
    this.#pump();
  }

  /** Ends the audio. The remaining finals and `done` follow, then the iteration ends. */
  stop() {
    this.#mayFollow();
    this.#replay.stop();
    this.#pump();
  }

  /** Sends all of `audio`, an (async) iterable, then stops. What it throws, the iteration throws. */
  async play(audio) {
    try {
      for await (const part of audio) await this.send(part);
      this.stop();
    } catch (error) {
      this.#end(error);
    }
  }

  /** Ends the stream at once. Text that is not final is lost. */
  close() {
    this.#end();
  }

  /** Seconds of audio that have no final text yet. */
  get kept() {
    return this.#replay.kept;
  }

  async *[Symbol.asyncIterator]() {
    let message;
    while ((message = await this.#inbox.get()) !== null) yield message;
  }

  // ---- sending

  #mayFollow() {
    if (this.#inbox.closed) throw this.#inbox.failure ?? new StreamError("closed", `the stream to ${this.url} is over`);
    if (this.#replay.stopped) throw new StreamError("after_stop", "nothing may follow stop");
  }

  /** Waits until the send buffer has room, or the stream is over. */
  async #room() {
    const isFull = () => this.#replay.full || (this.#connection && this.#replay.waiting > MAX_UNSENT_SECONDS);
    while (!this.#inbox.closed && isFull()) await new Promise((resolve) => this.#waitingForRoom.push(resolve));
  }

  #tellRoom() {
    for (const resolve of this.#waitingForRoom.splice(0)) resolve();
  }

  /** Hands to the browser what there is to send, while it takes it; a keepalive if there is nothing for long. */
  #pump(idle = false) {
    clearTimeout(this.#timer);
    const connection = this.#connection;
    if (!connection) return;
    let message = null;
    while (connection.bufferedAmount < HIGH_WATER_BYTES && (message = this.#replay.take()) !== null) {
      connection.send(message);
      idle = false;
    }
    if (idle) connection.send({ type: "keepalive" });
    this.#tellRoom();
    if (this.#replay.stopped && message === null && connection.bufferedAmount < HIGH_WATER_BYTES) return;
    const full = connection.bufferedAmount >= HIGH_WATER_BYTES;
    this.#timer = setTimeout(() => this.#pump(!full), full ? LOOK_MS : this.#timeouts.keepalive * 1000);
  }

  // ---- receiving

  /** Runs the stream to its end, over as many connections as it takes. */
  async #serve() {
    let connection = await this.#connect();
    this.ready = connection.ready;
    if (this.ready.resumable && this.#backoff.limit > 0) this.#replay.context = this.ready.context;
    for (;;) {
      try {
        return await this.#exchange(connection);
      } catch (error) {
        if (!(error.transient && this.#replay.resumable)) throw error;
        connection.abort();
        connection = await this.#reconnect(error);
      }
    }
  }

  /** Sends and receives over one connection until `done`. Throws StreamError if it ends earlier. */
  async #exchange(connection) {
    this.#connection = connection;
    this.#pump();
    try {
      for (;;) {
        const message = await connection.receive();
        for (const shown of this.#continuity.filter(message)) this.#inbox.put(shown);
        if (message.type === "done") return;
        if (this.#continuity.cut > this.#replay.cut) {
          this.#replay.acked(this.#continuity.cut);
          this.#backoff.achieved();
          this.#tellRoom();
        }
      }
    } finally {
      this.#connection = null;
      clearTimeout(this.#timer);
      this.#tellRoom();
    }
  }

  /** Connects. Throws StreamError if no server admits the stream before time is over. */
  async #connect() {
    let error;
    try {
      return await this.#open(this.#start);
    } catch (caught) {
      if (!caught.transient) throw caught;
      error = caught;
    }
    const connection = await this.#tryAgain(error, this.#start, (reason, attempt) => ({ type: "waiting", attempt, reason }));
    this.#backoff.achieved();
    this.#inbox.put({ type: "connected", url: this.url });
    return connection;
  }

  /** Opens a connection on which the stream resumes. Throws StreamError if there is none before time is over. */
  async #reconnect(error) {
    const replayed = this.#replay.taken;
    const start = { ...this.#start, resume: this.#replay.rewind(this.ready.fingerprint) };
    let connection;
    try {
      connection = await this.#tryAgain(error, start, (reason, attempt) => ({ type: "reconnecting", attempt, reason }));
    } catch (caught) {
      if (!caught.transient) throw caught;
      const kept = this.#replay.kept.toFixed(1);
      const text = `the stream could not be resumed within ${this.#backoff.limit} s, ${kept} s of audio are not transcribed`;
      throw new StreamError("lost", `${text}: ${caught.message}`);
    }
    this.#continuity.resumed();
    this.#inbox.put({ type: "resumed", url: this.url, replayed });
    return connection;
  }

  /** Tries until a server admits the stream. Throws the last error when time is over, or one that stays. */
  async #tryAgain(error, start, tell) {
    this.#backoff.lost();
    while (this.#backoff.left > 0) {
      const wait = this.#backoff.wait();
      this.#inbox.put({ ...tell(error.message, this.#backoff.attempts), kept: this.#replay.kept });
      await this.#sleep(wait);
      try {
        const connection = await this.#open(start);
        this.#backoff.found();
        return connection;
      } catch (caught) {
        if (!caught.transient) throw caught;
        error = caught;
      }
    }
    throw error;
  }

  #open(start) {
    const signal = this.#closing.signal;
    return openConnection(this.url, start, { token: this.#token, timeouts: this.#timeouts, signal });
  }

  #sleep(seconds) {
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, seconds * 1000);
      signal.addEventListener("abort", wake);
    });
  }

  #end(failure = null) {
    this.#inbox.close(failure);
    this.#connection?.abort();
    this.#closing.abort();
    this.#tellRoom();
  }
}

function toBytes(audio) {
  if (audio instanceof Uint8Array) return audio;
  if (audio instanceof ArrayBuffer) return new Uint8Array(audio);
  if (audio instanceof Int16Array) return new Uint8Array(audio.buffer, audio.byteOffset, audio.byteLength);
  throw new TypeError("audio is an Int16Array, or bytes in the encoding of the stream");
}
