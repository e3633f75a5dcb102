/** Audio or video in a file, decoded by the browser: blocks of 16 kHz mono (Int16Array), half a second each. */

import { SAMPLE_RATE } from "./replay.js";
import { toPcm } from "./resample.js";

const BLOCK_SAMPLES = 8000;

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
    const channels = await this.#decode();
    const length = channels[0].length;
    for (let first = 0; first < length; first += BLOCK_SAMPLES) {
      yield toPcm(mean(channels.map((channel) => channel.subarray(first, first + BLOCK_SAMPLES))));
    }
  }

  async #decode() {
    let decoded;
    try {
      const data = await this.#blob.arrayBuffer();
      decoded = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(data); // resampled by the browser
    } catch (error) {
      throw new UnreadableFile(error.message);
    }
    this.duration = decoded.duration;
    return Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
  }
}

function mean(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, n) => channels.reduce((sum, channel) => sum + channel[n], 0) / channels.length);
}
