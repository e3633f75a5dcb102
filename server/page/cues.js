/**
 * Utterances as files: text, SubRip (SRT) and WebVTT, cut into cues where a viewer can read them. No I/O.
 *
 * The cues are those of `earshot stream --format srt`: a cue ends where the speaker pauses or a phrase ends, and stays
 * into the pause that follows until it can be read. Utterances are `final` messages; `cut` in samples, times in seconds.
 */

import { SAMPLE_RATE } from "./replay.js";

/** Maximum number of lines of a cue, which is what is shown at one time. */
const CUE_LINE_COUNT = 2;
/** Minimum gap between two cues, by which a viewer sees that the text is another. */
const GAP_MS = 80;
/** Maximum duration of a cue of several words. */
const MAX_CUE_MS = 7000;
/** A shorter cue is shown for this long if the next one does not begin earlier. */
const MIN_CUE_MS = 1000;
/** Maximum pause between two words of a cue. */
const MAX_PAUSE_MS = 1000;
/** A pause that ends a phrase for certain. */
const CLEAR_PAUSE_MS = 500;

const SENTENCE_END = /[.?!…。？！।؟]$/u;
const CLAUSE_END = /[,;:–—、，；：،؛]$/u;
/** English words with which a phrase begins, or which lean on the next word: a cue is not to end with one. */
const OPENING = new Set(
  `a an the this these that those which who whom whose what where when while if because although though unless until
  since than as and or but nor so yet of to in on at by for with from into onto upon about after before between through
  during under over without within against among toward towards per my your his her its our their is are was were be
  been am has have had do does did will would can could shall should may might must not no very`.split(/\s+/),
);
/** Weights, beside that of an unfilled cue, of an end in mid-phrase, and of text that is faster than can be read. */
const ROUGH = 1.5;
const RUSHED = 3;

/** What fits, and what can be read, by characters that a text has. A full-width character has two columns. */
const LATIN = { line: 42, perSecond: 17 };
const FULL_WIDTH = [
  [/[\u3041-\u30ff]/, { line: 26, perSecond: 8 }], // Japanese
  [/[\uac00-\ud7a3]/, { line: 32, perSecond: 24 }], // Korean
  [/[\u3400-\u9fff]/, { line: 32, perSecond: 18 }], // Chinese
];

/** Plain text, one utterance per line. */
export const toText = (finals) => finals.map((final) => `${final.text}\n`).join("");

/** SubRip. `duration`: of the recording, in seconds. */
export function toSrt(finals, duration) {
  const written = ({ lines, startMs, endMs }, n) => {
    const text = lines.join("\n").replace(/--+>/g, "->"); // SubRip has no way to escape its arrow
    return `${n + 1}\n${clock(startMs, ",")} --> ${clock(endMs, ",")}\n${text}\n\n`;
  };
  return toCues(finals, duration).map(written).join("");
}

/** WebVTT (W3C, 4 April 2019). */
export function toVtt(finals, duration) {
  const written = ({ lines, startMs, endMs }) => {
    const text = lines.join("\n").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
    return `${clock(startMs, ".")} --> ${clock(endMs, ".")}\n${text}\n\n`;
  };
  return `WEBVTT\n\n${toCues(finals, duration).map(written).join("")}`;
}

/** Cues, { lines, startMs, endMs }, in order, GAP_MS apart, each at least 1 ms long. */
export function toCues(finals, duration) {
  const cues = [];
  let spokenMs = 0; // the end of the last cue's last word
  let freeMs = 0; // no cue begins before
  let open = false; // the last cue ends when it has been read, if nothing comes before
  const close = (latestMs) => {
    if (!open) return;
    const cue = cues.at(-1);
    cue.endMs = Math.max(cue.startMs + 1, Math.min(cue.endMs, latestMs));
    freeMs = cue.endMs + GAP_MS;
    open = false;
  };
  for (const final of finals) {
    const limits = limitsOf(final.text);
    const pieces = toPieces(final, limits);
    const cutMs = Math.round((final.cut / SAMPLE_RATE) * 1000);
    for (const [begin, end] of spans(pieces, cutMs, limits)) {
      close(pieces[begin].startMs - GAP_MS);
      const startMs = Math.max(pieces[begin].startMs, freeMs);
      spokenMs = Math.max(pieces[end - 1].endMs, startMs + 1);
      const readMs = startMs + readingMs(limits, width(pieces, begin, end));
      cues.push({ lines: toLines(pieces, begin, end, limits), startMs, endMs: Math.max(spokenMs, readMs) });
      open = true;
    }
    if (open && cues.at(-1).endMs <= cutMs - GAP_MS) close(cues.at(-1).endMs);
  }
  close(Math.max(Math.round(duration * 1000), spokenMs));
  return cues;
}

const limitsOf = (text) => (FULL_WIDTH.find(([letters]) => letters.test(text)) ?? [null, LATIN])[1];
const readingMs = (limits, width) => Math.max(MIN_CUE_MS, Math.ceil((width * 1000) / limits.perSecond));

// ---- words

/** The words, or parts of words longer than a line, at their places: `at`, `to` are columns of the text. */
function toPieces(final, limits) {
  const pieces = [];
  let at = 0;
  let position = 0;
  for (const word of final.words ?? spread(final)) {
    const found = final.text.indexOf(word.text, position);
    if (found !== position && position > 0 && at > 0) at += 1;
    position = Math.max(found, position) + word.text.length;
    const startMs = Math.round(word.start * 1000);
    const endMs = Math.round(word.end * 1000);
    const chars = Array.from(word.text.trim().replace(/\s+/g, " "));
    const time = (n) => startMs + Math.floor(((endMs - startMs) * n) / chars.length);
    let first = 0;
    for (const part of chop(chars, limits.line)) {
      const to = at + columns(part);
      pieces.push({ text: part.join(""), at, to, startMs: time(first), endMs: time(first + part.length) });
      first += part.length;
      at = to;
    }
  }
  return pieces;
}

/** The words of a text without word times, with the utterance's duration divided in proportion to their lengths. */
function spread({ text, start, end }) {
  const words = text.split(/\s+/).filter(Boolean);
  const perLetter = (end - start) / Math.max(1, words.reduce((sum, word) => sum + Array.from(word).length, 0));
  let at = start;
  return words.map((word) => {
    const begin = at;
    at += perLetter * Array.from(word).length;
    return { text: word, start: begin, end: at };
  });
}

/** Characters in parts that are at most so many columns wide. */
function chop(chars, most) {
  const parts = [[]];
  for (const char of chars) {
    if (columns(parts.at(-1)) + columns([char]) > most) parts.push([]);
    parts.at(-1).push(char);
  }
  return parts;
}

const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;
const NO_WIDTH = /[\p{Mn}\p{Me}\u200b-\u200f]/u;

/** The width of characters, of which Chinese, Japanese and Korean ones have two columns. */
function columns(chars) {
  let sum = 0;
  for (const char of chars) sum += NO_WIDTH.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
  return sum;
}

// ---- cues

/**
 * Groups pieces into cues [begin, end): few, evenly filled, ending with phrases, and not faster than can be read.
 *
 * Minimizes the total cost by dynamic programming, as Knuth and Plass (1981) break lines.
 */
function spans(pieces, cutMs, limits) {
  const costs = [0]; // [n]: the lowest cost of grouping the first n pieces
  const begins = [0]; // [n]: where the last cue of that grouping begins
  for (let end = 1; end <= pieces.length; end += 1) {
    const nextMs = end < pieces.length ? pieces[end].startMs : cutMs;
    const rough = ROUGH * roughness(pieces, end);
    let best = [Infinity, 0];
    for (const begin of beginnings(pieces, end, limits)) {
      const cost = costs[begin] + cueCost(pieces, begin, end, nextMs, limits) + rough;
      if (cost <= best[0]) best = [cost, begin];
    }
    costs.push(best[0]);
    begins.push(best[1]);
  }
  const found = [];
  for (let end = pieces.length; end > 0; end = begins[end]) found.push([begins[end], end]);
  return found.reverse();
}

/** Where a cue that ends before piece `end` may begin, in descending order. One piece is always allowed. */
function beginnings(pieces, end, limits) {
  const found = [end - 1];
  for (let begin = end - 2; begin >= 0; begin -= 1) {
    const pause = pieces[begin + 1].startMs - pieces[begin].endMs;
    const duration = pieces[end - 1].endMs - pieces[begin].startMs;
    if (pause > MAX_PAUSE_MS || duration > MAX_CUE_MS || !splits(pieces, begin, end, limits).length) break;
    found.push(begin);
  }
  return found;
}

/** How far a cue is from a full one that can be read before `nextMs`. */
function cueCost(pieces, begin, end, nextMs, limits) {
  const wide = width(pieces, begin, end);
  const missingMs = readingMs(limits, wide) - (nextMs - GAP_MS - pieces[begin].startMs);
  return (1 - wide / (CUE_LINE_COUNT * limits.line)) ** 2 + (RUSHED * Math.max(missingMs, 0)) / 1000;
}

/** How unwelcome an end before piece `end` is: from 0, where a sentence ends, to 1.5, in mid-phrase. */
function roughness(pieces, end) {
  const last = pieces[end - 1];
  if (end === pieces.length || SENTENCE_END.test(last.text)) return 0;
  if (CLAUSE_END.test(last.text)) return 0.1;
  const pause = Math.min(Math.max(pieces[end].startMs - last.endMs, 0) / CLEAR_PAUSE_MS, 1);
  return (1 - (opens(pieces[end]) ? 0.25 : 0)) * (1 - pause) + (opens(last) ? 0.5 : 0);
}

const opens = (piece) => OPENING.has(piece.text.toLowerCase());

// ---- lines

const width = (pieces, begin, end) => pieces[end - 1].to - pieces[begin].at;

/** Where the second of two lines may begin; `end` for one line; none if the text is too long. */
function splits(pieces, begin, end, limits) {
  if (width(pieces, begin, end) <= limits.line) return [end];
  const found = [];
  for (let i = begin + 1; i < end; i += 1) {
    if (width(pieces, i, end) <= limits.line && width(pieces, begin, i) <= limits.line) found.push(i);
  }
  return found;
}

/** One line, or two of similar length, the first of which ends with a phrase. */
function toLines(pieces, begin, end, limits) {
  const [first, ...others] = splits(pieces, begin, end, limits);
  if (first === end) return [toLine(pieces, begin, end)];
  const cost = (i) => {
    const uneven = (width(pieces, i, end) - width(pieces, begin, i) - 1) / limits.line;
    return uneven ** 2 + ROUGH * roughness(pieces, i);
  };
  const split = others.reduce((best, i) => (cost(i) < cost(best) ? i : best), first);
  return [toLine(pieces, begin, split), toLine(pieces, split, end)];
}

/** The pieces as one line of text. */
function toLine(pieces, begin, end) {
  let line = pieces[begin].text;
  for (let i = begin + 1; i < end; i += 1) line += " ".repeat(pieces[i].at - pieces[i - 1].to) + pieces[i].text;
  return line;
}

/** Milliseconds as hh:mm:ss,mmm, with `point` in place of the comma. */
function clock(ms, point) {
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  const seconds = Math.floor(ms / 1000);
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}${point}${String(ms % 1000).padStart(3, "0")}`;
}
