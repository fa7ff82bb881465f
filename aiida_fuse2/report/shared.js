"use strict";
// What the pages share: words, plots, tables.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FONT = getComputedStyle(document.documentElement).getPropertyValue("--font").trim();
const byId = id => document.getElementById(id);
const NARROW = window.innerWidth < 760;

// --- words ---------------------------------------------------------------------------------------

// What comes from data is text, never markup. It reaches the page through `put` and `html` alone, which escape all but
// the markup that is made here.
class Markup {
  constructor(source) { this.source = source; }
}
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
function text(value) {  // what would be invisible or turn the direction of the text is shown by its number
  return String(value).replace(/[&<>"']/g, c => ENTITIES[c]).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, c => `\\u{${c.codePointAt(0).toString(16)}}`);
}
const markup = value => value instanceof Markup ? value.source : Array.isArray(value) ? value.map(markup).join("") : text(value);
const html = (pieces, ...values) => new Markup(String.raw({ raw: pieces }, ...values.map(markup)));
const put = (id, content) => { byId(id).innerHTML = markup(content); };
const marked = (value, pattern, mark) => new Markup(String(value).split(pattern).map((piece, i) => i % 2 ? mark(text(piece)) : text(piece)).join(""));
const formula = value => marked(value, /(\d+(?:\.\d+)?)/, n => `<sub>${n}</sub>`);
const SYMBOL = /(?<![\w-])([PIFRABC](?:-?[1-6](?:_[1-5])?|[mnabcde/])+)(?![\w-])/;  // of a space group, anywhere in a text
const group = value => marked(value, SYMBOL, symbol => symbol.replace(/_(\d)/g, "<sub>$1</sub>").replace(/-(\d)/g, '<span class="bar-over">$1</span>'));
const number = (value, digits = 0) => Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const signed = (value, digits) => Number(value).toFixed(digits).replace(/^-(?=[0.]+$)/, "").replace("-", "\u2212");  // rounded here, once
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
function duration(seconds) {
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${number(seconds / 60, seconds < 600 ? 1 : 0)} min`;
  return `${number(seconds / 3600, seconds < 36000 ? 1 : 0)} h`;
}

// --- plots ---------------------------------------------------------------------------------------

// Figures come from Python, their texts safe. Layout and traces have in `meta` what is different on a narrow page.
DATA.theme.layout.font.family = FONT;
if (NARROW) Object.assign(DATA.theme.layout.legend, { font: { size: 10.5 }, entrywidth: 0.48, entrywidthmode: "fraction" });
function drawPlot(box) {
  const { data, layout } = DATA.plots[box.id.replace("plot-", "")];
  for (const whole of NARROW ? [layout, ...data] : [])
    for (const [path, value] of Object.entries(whole.meta?.narrow ?? {})) {
      const names = path.split("."), last = names.pop();
      names.reduce((part, name) => part[name] ??= {}, whole)[last] = value;
    }
  if (layout.height) box.style.height = `${layout.height}px`;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: `${document.title.replace(/[^A-Za-z0-9]+/g, "_")}_${box.id}` } };
  Plotly.newPlot(box, data, { template: DATA.theme, hoverlabel: { font: { family: FONT } }, ...layout }, config);
}

// --- tables --------------------------------------------------------------------------------------

const maybe = (value, digits) => value === null ? "–" : signed(value, digits);

function factsList(facts) {
  return facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
}
function rowsTable(titles, rows) {
  return html`<table class="list"><thead><tr>${titles.map(t => html`<th>${t}</th>`)}</tr></thead><tbody>${rows.map(cells => html`<tr>${cells.map(c => html`<td>${c}</td>`)}</tr>`)}</tbody></table>`;
}
