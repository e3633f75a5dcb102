/**
 * The microphone: the browser's audio thread hands on blocks, which are resampled to 16 kHz mono and wait to be read.
 *
 *     const microphone = new Microphone();
 *     for await (const pcm of microphone) ...                      // Int16Array, until microphone.stop()
 *
 * A microphone that is unplugged is waited for; meanwhile there are zeros. Throws what getUserMedia throws,
 * NoSuchMicrophone, and InsecurePage where the browser gives a page no microphone at all.
 */

import { Capture } from "./capture.js";
import { SAMPLE_RATE } from "./replay.js";
import { Resampler, toPcm } from "./resample.js";

/** Maximum length of the queue. While it is full, new audio is dropped. */
const QUEUE_SECONDS = 10;
/** How long the browser may take to begin. */
const PATIENCE_MS = 2000;
const RETRY_MS = 1000;
/** What is heard is to be transcribed, not to be sent to a loudspeaker: it is taken as it is. */
const PLAIN = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** The page is neither from this machine nor over https, so that the browser gives it no microphone. */
export class InsecurePage extends Error {
  name = "InsecurePage";
}

/** No microphone has the name that was asked for. */
export class NoSuchMicrophone extends Error {
  name = "NoSuchMicrophone";
}

/** Microphones that the browser knows, { id, label }. Labels are empty until the page may use one. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId)
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

export class Microphone {
  /** The name of the device, once it is open. */
  label = "";
  #device;
  #report;
  #capture = new Capture(QUEUE_SECONDS * SAMPLE_RATE);
  #stopped = false;
  #context = null;
  #media = null;
  #away = null; // the time since when the device is unplugged
  #wake = () => {};

  /**
   * device   a device's id, or a part of its name; null: the browser's choice
   * report   called with "away" when the microphone is unplugged, "back" when it is there again, and "asleep" or "awake"
   *          while the browser wants a click before it lets the page hear anything
   */
  constructor({ device = null, report = () => {} } = {}) {
    this.#device = device;
    this.#report = report;
  }

  /** Seconds of audio that were lost and replaced by zeros. */
  get dropped() {
    return this.#capture.dropped / SAMPLE_RATE;
  }

  /** Ends the audio now; audio in the queue is still read. */
  stop() {
    this.#stopped = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    try {
      await this.#open();
      for (;;) {
        const pcm = this.#capture.take();
        if (pcm !== null) yield pcm;
        else if (this.#stopped) return;
        else await this.#news();
      }
    } finally {
      this.#stopped = true;
      await this.#close();
    }
  }

  #news() {
    return new Promise((resolve) => {
      const timer = this.#away === null ? null : setTimeout(resolve, 100);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }).then(() => this.#absent());
  }

  async #open() {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new InsecurePage();
    await this.#plugIn();
    if (this.#stopped) return;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    await this.#context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    this.#record();
    this.#keepAwake();
  }

  /** Opens the device. */
  async #plugIn() {
    let media = await navigator.mediaDevices.getUserMedia({ audio: { ...PLAIN, ...(await this.#wanted()) } });
    const named = this.#device && (await this.#find()); // names are told only to a page that hears already
    const [track] = media.getAudioTracks();
    if (this.#device && !named) {
      track.stop();
      throw new NoSuchMicrophone(this.#device);
    }
    if (named && named.id !== track.getSettings().deviceId) {
      track.stop();
      media = await navigator.mediaDevices.getUserMedia({ audio: { ...PLAIN, deviceId: { exact: named.id } } });
    }
    this.#media = media;
    this.label = media.getAudioTracks()[0].label;
    media.getAudioTracks()[0].onended = () => this.#lost();
  }

  async #wanted() {
    const found = this.#device && (await this.#find());
    return found ? { deviceId: { exact: found.id } } : {};
  }

  async #find() {
    const known = await listMicrophones();
    const part = this.#device.toLowerCase();
    return known.find(({ id }) => id === this.#device) ?? known.find(({ label }) => label.toLowerCase().includes(part));
  }

  #record() {
    const resampler = new Resampler(this.#context.sampleRate);
    const recorder = new AudioWorkletNode(this.#context, "recorder", { numberOfInputs: 1, numberOfOutputs: 1 });
    recorder.port.onmessage = ({ data }) => {
      if (this.#stopped) return;
      this.#capture.put(toPcm(resampler.feed(data)));
      this.#wake();
    };
    this.#context.createMediaStreamSource(this.#media).connect(recorder);
    recorder.connect(this.#context.destination); // silent; some browsers let only what is connected run
  }

  /** Browsers put audio to sleep: before the first click on a page, or while a telephone rings. */
  #keepAwake() {
    const context = this.#context;
    let asleep = false;
    let ranUntil = null; // the time at which it was put to sleep after it had run
    const wake = () => (this.#stopped ? window.removeEventListener("pointerdown", wake) : context.resume().catch(() => {}));
    const look = () => {
      const sleeps = context.state !== "running";
      if (this.#stopped || sleeps === asleep) return;
      asleep = sleeps;
      this.#report(asleep ? "asleep" : "awake");
    };
    context.onstatechange = () => {
      if (context.state === "running") {
        if (ranUntil !== null) this.#capture.lose(samplesSince(ranUntil));
        ranUntil = null;
        return look();
      }
      ranUntil ??= performance.now();
      wake();
      setTimeout(look, PATIENCE_MS);
    };
    window.addEventListener("pointerdown", wake);
    wake();
    setTimeout(look, PATIENCE_MS);
  }

  // ---- a device that is unplugged

  #lost() {
    if (this.#stopped) return;
    this.#away = performance.now();
    this.#report("away");
    this.#wake();
    this.#waitForReturn();
  }

  async #waitForReturn() {
    while (!this.#stopped) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      try {
        await this.#plugIn();
        break;
      } catch {
        // not yet
      }
    }
    if (this.#stopped) return this.#media?.getTracks().forEach((track) => track.stop());
    this.#absent();
    this.#away = null;
    this.#record();
    this.#report("back");
  }

  /** Counts the audio until now as lost, while the device is away. */
  #absent() {
    if (this.#away === null || this.#stopped) return;
    this.#capture.lose(samplesSince(this.#away));
    this.#away = performance.now();
  }

  async #close() {
    this.#media?.getTracks().forEach((track) => track.stop());
    if (this.#context) await this.#context.close().catch(() => {});
  }
}

const samplesSince = (time) => Math.round(((performance.now() - time) / 1000) * SAMPLE_RATE);
