// Opens the details that the address points at, and keeps a page that asks for it (<main data-refresh="seconds">)
// current. Only what differs is touched: focus, selection, scroll position and opened details stay. Without scripts
// such a page reloads itself (the templates' refresh blocks).
"use strict";

function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || (from.id || "") !== (to.id || "")) {
    from.replaceWith(to.cloneNode(true));
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !(from.nodeName === "DETAILS" && name === "open")) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  const wanted = new Set([...to.children].map((one) => one.id).filter(Boolean));
  [...to.childNodes].forEach((child, position) => {
    const known = child.id && [...from.children].find((one) => one.id === child.id);
    // What left the list goes first: then the rest stays where it is, and what is not moved keeps its focus.
    while (known && from.childNodes[position] !== known && !wanted.has(from.childNodes[position].id)) {
      from.childNodes[position].remove();
    }
    const present = from.childNodes[position];
    if (!present) {
      from.append(child.cloneNode(true));
    } else if (child.id && present.id !== child.id) {
      from.insertBefore(known || child.cloneNode(true), present);
      if (known) morph(known, child);
    } else {
      morph(present, child);
    }
  });
  while (from.childNodes.length > to.childNodes.length) from.lastChild.remove();
}

async function refresh(main, seconds) {
  const stale = document.getElementById("stale");
  try {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const content = fresh.querySelector("main");
    if (!content) throw new Error("not a page");
    morph(main, content);
    document.title = fresh.title;
    stale.hidden = true;
    stale.querySelector("time").textContent = new Date().toLocaleTimeString();
    if (!main.dataset.refresh) return;
  } catch {
    stale.hidden = false;
  }
  setTimeout(refresh, seconds * 1000, main, seconds);
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.nodeName === "DETAILS") target.open = true;
}

addEventListener("hashchange", openTarget);
openTarget();

const main = document.querySelector("main[data-refresh]");
if (main) {
  const seconds = Number(main.dataset.refresh);
  document.getElementById("stale").querySelector("time").textContent = new Date().toLocaleTimeString();
  setTimeout(refresh, seconds * 1000, main, seconds);
}

// Single keys (listed at the foot of every page): j and k go through what can be opened; a letter follows the link that
// has it, in the page that has the focus, else in the first one.
const keysOn = document.getElementById("keys-on");
keysOn.checked = localStorage.getItem("keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("keys", keysOn.checked ? "on" : "off"));

function step(by) {
  const stops = [...document.querySelectorAll("article h2 a, .waterfall summary, .lines summary")];
  const here = stops.findIndex((stop) => stop.closest("article, details").contains(document.activeElement));
  stops[here < 0 ? (by > 0 ? 0 : stops.length - 1) : Math.min(Math.max(here + by, 0), stops.length - 1)]?.focus();
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]") && event.target !== keysOn;
  if (!keysOn.checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
  } else if (event.key === "?") {
    const keys = document.getElementById("keys");
    keys.open = !keys.open;
    if (keys.open) keys.querySelector("summary").focus();
  } else if (/^[a-z]$/.test(event.key)) {
    const wanted = `[data-key="${event.key}"]`;
    const here = document.activeElement.closest("article")?.querySelector(wanted);
    (here || document.querySelector(wanted))?.click();
  } else {
    return;
  }
  event.preventDefault();
});
