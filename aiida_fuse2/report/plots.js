"use strict";
// What the pages share: words, colours, plots.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FONT = getComputedStyle(document.documentElement).getPropertyValue("--font").trim();
const byId = id => document.getElementById(id);
const COLOURS = ["#1f5fa8", "#d1602b", "#2b8a5f", "#8e4fa3", "#c9a227", "#3aa6b9", "#b03a5b", "#6b7f2a"];
const NARROW = window.innerWidth < 760, GREY = "#aab5c0", ENERGY = "Energy (eV/atom)";

// --- words ---------------------------------------------------------------------------------------

// What comes from data is text, never markup. It reaches the page through `put` and `html` alone, which escape all but
// the markup that is made here, and plots, which read some tags too, through `text`, `plotGroup` and `plotFormula`.
class Markup {
  constructor(source) { this.source = source; }
}
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "%": "&#37;" };  // % begins a place in templates of plots
function text(value) {  // what would be invisible or turn the direction of the text is shown by its number
  return String(value).replace(/[&<>"'%]/g, c => ENTITIES[c]).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, c => `\\u{${c.codePointAt(0).toString(16)}}`);
}
const markup = value => value instanceof Markup ? value.source : Array.isArray(value) ? value.map(markup).join("") : text(value);
const html = (pieces, ...values) => new Markup(String.raw({ raw: pieces }, ...values.map(markup)));
const put = (id, content) => { byId(id).innerHTML = markup(content); };
const marked = (value, pattern, mark) => String(value).split(pattern).map((piece, i) => i % 2 ? mark(text(piece)) : text(piece)).join("");
const plotFormula = value => marked(value, /(\d+(?:\.\d+)?)/, n => `<sub>${n}</sub>`);
const plotGroup = value => marked(value, /_(\d)/, n => `<sub>${n}</sub>`);
const formula = value => new Markup(plotFormula(value));
const group = value => new Markup(marked(value, /([_-]\d)/, ([sign, n]) => sign === "_" ? `<sub>${n}</sub>` : `<span class="bar-over">${n}</span>`));
const number = (value, digits = 0) => Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const signed = (value, digits) => Number(value).toFixed(digits).replace("-", "\u2212");
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
function duration(seconds) {
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${number(seconds / 60, seconds < 600 ? 1 : 0)} min`;
  return `${number(seconds / 3600, seconds < 36000 ? 1 : 0)} h`;
}

const LEGEND = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", ...(NARROW ? { font: { size: 10.5 }, entrywidth: 0.48, entrywidthmode: "fraction" } : {}) };

// --- plots ---------------------------------------------------------------------------------------

function axis(title, more = {}) {
  return { title: { text: title, standoff: 10 }, gridcolor: "#edf0f3", linecolor: "#8996a3", tickcolor: "#8996a3", ticks: "outside",
    ticklen: 4, showline: true, zeroline: false, automargin: true, ...more };
}
function plot(id, traces, layout) {
  const base = { font: { family: FONT, size: 13, color: "#1c2733" }, margin: { l: 70, r: 18, t: 34, b: 52 }, paper_bgcolor: "#fff",
    plot_bgcolor: "#fff", hoverlabel: { font: { family: FONT } }, legend: LEGEND,
    hovermode: "closest", colorway: COLOURS };
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: `${document.title.replace(/[^A-Za-z0-9]+/g, "_")}_${id}` } };
  Plotly.newPlot(id, traces, { ...base, ...layout }, config);
}
function extremes(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}
// The range in which nearly all energies lie: a few bad structures must not press the others flat.
function energyRange(values, part = 0.9) {
  const sorted = Float64Array.from(values).sort();
  const low = sorted[0], top = sorted[sorted.length - 1], usual = sorted[Math.floor(part * (sorted.length - 1))];
  const high = top - low > 2.5 * (usual - low) && usual > low ? usual : top;
  const pad = 0.06 * (high - low || 0.1);
  return [low - pad, high + pad];
}

// --- tables --------------------------------------------------------------------------------------

const maybe = (value, digits) => value === null ? "–" : signed(value, digits);

function factsList(facts) {
  return facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
}
function rowsTable(titles, rows) {
  return html`<table class="list"><thead><tr>${titles.map(t => html`<th>${t}</th>`)}</tr></thead><tbody>${rows.map(cells => html`<tr>${cells.map(c => html`<td>${c}</td>`)}</tr>`)}</tbody></table>`;
}
