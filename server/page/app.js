/** Begins: the page, for one who speaks or for a viewer; or the overlay. */

const { view, does } = document.documentElement.dataset;
const page = does === "watch" ? "./viewer.js" : "./page.js";
const { begin } = await import(view === "overlay" ? "./overlay.js" : page);
begin();
