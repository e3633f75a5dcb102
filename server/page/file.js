/** Audio or video in a file, decoded by the browser: blocks of 16 kHz mono (Int16Array), half a second each. */

import { Resampler, toPcm } from "./resample.js";

/** Files are decoded at this rate, unless their head says another: browsers resample too coarsely to go below. */
const USUAL_RATE = 48000;
const LEAST_RATE = 8000;
const MOST_RATE = 192000;

/** The browser can't read the file. */
export class UnreadableFile extends Error {
  name = "UnreadableFile";
}

export class FileAudio {
  /** In seconds, once it is decoded. */
  duration = null;
  #blob;

  /** blob: a File, or any other Blob */
  constructor(blob) {
    this.#blob = blob;
  }

  async *[Symbol.asyncIterator]() {
    const decoded = await this.#decode();
    const channels = Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
    const resampler = new Resampler(decoded.sampleRate);
    const size = Math.floor(decoded.sampleRate / 2);
    for (let first = 0; first < decoded.length; first += size) {
      yield toPcm(resampler.feed(mean(channels.map((channel) => channel.subarray(first, first + size)))));
    }
    yield toPcm(resampler.finish());
  }

  async #decode() {
    try {
      const data = await this.#blob.arrayBuffer();
      const decoded = await new OfflineAudioContext(1, 1, rateOf(new DataView(data))).decodeAudioData(data);
      this.duration = decoded.duration;
      return decoded;
    } catch (error) {
      throw new UnreadableFile(error.message);
    }
  }
}

/** The sample rate that the head of a WAV or FLAC file names. */
function rateOf(data) {
  const found = wavRate(data) ?? flacRate(data);
  return found >= LEAST_RATE && found <= MOST_RATE ? found : USUAL_RATE;
}

function wavRate(data) {
  if (!holds(data, 0, "RIFF") || !holds(data, 8, "WAVE")) return null;
  for (let at = 12; at + 16 <= data.byteLength; at += 8 + data.getUint32(at + 4, true)) {
    if (holds(data, at, "fmt ")) return data.getUint32(at + 12, true);
  }
  return null;
}

/** Of a FLAC file: 20 bits of its first block. */
const flacRate = (data) => (holds(data, 0, "fLaC") && data.byteLength > 22 ? data.getUint32(18) >>> 12 : null);

const holds = (data, at, name) =>
  at + 4 <= data.byteLength && Array.from(name).every((char, n) => data.getUint8(at + n) === char.charCodeAt(0));

function mean(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, n) => channels.reduce((sum, channel) => sum + channel[n], 0) / channels.length);
}
