/**
 * Resamples audio by a windowed sinc, exactly in time: sample n of the output is at n / to seconds. No I/O.
 *
 *     const resampler = new Resampler(48000);
 *     resampler.feed(block); ...; resampler.finish();              // Float32Array -> Float32Array
 *
 * How the audio is cut into blocks makes no difference. The low-pass is flat up to 90 % of the lower of the two Nyquist
 * frequencies and stops everything above it (by 90 dB): nothing is aliased into the band of speech.
 */

const STOP_DB = 90;
/** Where the transition begins, as a share of the lower Nyquist frequency; it ends at 1. */
const PASS = 0.9;

export class Resampler {
  #step; // the output advances by #step / #phases.length input samples
  #phases;
  #half; // an output sample is made from #half input samples on either side
  #held; // input that is still needed
  #first; // the index in the whole input of #held[0]
  #fed = 0;
  #made = 0;

  constructor(from, to = 16000) {
    const divisor = gcd(from, to);
    this.#step = from / divisor;
    [this.#phases, this.#half] = filters(from / divisor, to / divisor);
    this.#held = new Float32Array(this.#half);
    this.#first = -this.#half;
  }

  /** Takes samples, and returns those that can be made from what has come so far. */
  feed(samples) {
    this.#hold(samples);
    this.#fed += samples.length;
    return this.#make(this.#count(this.#fed - this.#half));
  }

  /** Ends the audio: returns the last samples. */
  finish() {
    this.#hold(new Float32Array(this.#half + 1));
    return this.#make(this.#count(this.#fed));
  }

  /** How many output samples lie before an input sample. */
  #count(before) {
    return Math.max(0, Math.ceil((before * this.#phases.length) / this.#step));
  }

  #hold(samples) {
    const held = new Float32Array(this.#held.length + samples.length);
    held.set(this.#held);
    held.set(samples, this.#held.length);
    this.#held = held;
  }

  #make(until) {
    const made = new Float32Array(Math.max(0, until - this.#made));
    for (let n = 0; n < made.length; n += 1, this.#made += 1) made[n] = this.#sample(this.#made);
    const needed = Math.floor((this.#made * this.#step) / this.#phases.length) - this.#half + 1;
    if (needed > this.#first) {
      this.#held = this.#held.slice(needed - this.#first);
      this.#first = needed;
    }
    return made;
  }

  #sample(n) {
    const place = n * this.#step;
    const filter = this.#phases[place % this.#phases.length];
    const begin = Math.floor(place / this.#phases.length) - this.#half + 1 - this.#first;
    let sum = 0;
    for (let k = 0; k < filter.length; k += 1) sum += filter[k] * this.#held[begin + k];
    return sum;
  }
}

/** 16-bit samples of floats, full scale being 1; what is louder is clipped. */
export function toPcm(samples) {
  const pcm = new Int16Array(samples.length);
  for (let n = 0; n < samples.length; n += 1) {
    pcm[n] = Math.max(-32768, Math.min(32767, Math.round(samples[n] * 32768)));
  }
  return pcm;
}

/** One filter for each place that an output sample may have between two input samples, and half their length. */
function filters(step, phases) {
  if (step === phases) return [[Float32Array.of(1, 0)], 1];
  const nyquist = Math.min(1, phases / step); // of the lower rate, as a share of the input's
  const width = Math.PI * nyquist * (1 - PASS);
  const half = Math.ceil((STOP_DB - 8) / (2.285 * width) / 2); // Kaiser's formula
  const beta = 0.1102 * (STOP_DB - 8.7);
  const cutoff = (nyquist * (1 + PASS)) / 2;
  return [Array.from({ length: phases }, (_, phase) => filter(phase / phases, half, cutoff, beta)), half];
}

/** Taps for the input samples from 1 - half to half, around an output sample that is `offset` behind sample 0. */
function filter(offset, half, cutoff, beta) {
  const taps = Float64Array.from({ length: 2 * half }, (_, k) => {
    const x = k - half + 1 - offset;
    const window = bessel(beta * Math.sqrt(Math.max(0, 1 - (x / half) ** 2))) / bessel(beta);
    return cutoff * sinc(cutoff * x) * window;
  });
  const gain = taps.reduce((sum, tap) => sum + tap, 0);
  return Float32Array.from(taps, (tap) => tap / gain);
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > 1e-12 * sum; k += 1) {
    term *= (x / 2 / k) ** 2;
    sum += term;
  }
  return sum;
}

const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));
