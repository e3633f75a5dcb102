/** Runs in the browser's audio thread: hands on what the microphone hears, mixed to one channel, in blocks. */

const BLOCK_SAMPLES = 2048;

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK_SAMPLES);
  #filled = 0;

  process([channels]) {
    const samples = channels[0]?.length ?? 0;
    for (let n = 0; n < samples; n += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[n];
      this.#block[this.#filled++] = sum / channels.length;
      if (this.#filled === BLOCK_SAMPLES) this.#handOn();
    }
    return true;
  }

  #handOn() {
    this.port.postMessage(this.#block, [this.#block.buffer]);
    this.#block = new Float32Array(BLOCK_SAMPLES);
    this.#filled = 0;
  }
}

registerProcessor("recorder", Recorder);
