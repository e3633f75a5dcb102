/** Begins: the page, or the overlay. */

const view = document.documentElement.dataset.view;
const { begin } = await import(view === "overlay" ? "./overlay.js" : "./page.js");
begin();
