/** Hands the captions over: to the clipboard, or as a file. */

import { toSrt, toText, toVtt } from "./cues.js";

const KINDS = {
  txt: [toText, "text/plain"],
  srt: [toSrt, "application/x-subrip"],
  vtt: [toVtt, "text/vtt"],
};

/** Saves finals as a file of a kind: txt, srt or vtt. duration: of what was heard, in seconds */
export function saveAs(kind, finals, duration) {
  const [write, type] = KINDS[kind];
  const url = URL.createObjectURL(new Blob([write(finals, duration)], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `captions-${stamp(new Date())}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return link.download;
}

/** Copies the text of finals. */
export async function copy(finals) {
  const text = toText(finals);
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // a page that is not secure has no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function stamp(date) {
  const two = (n) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
