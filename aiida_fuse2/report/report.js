const structures = new Map(Object.entries(DATA.structures));

function caption(facts, lead) {
  return html`<b>${lead}</b>: structure ${number(facts.number)}, <b>${signed(facts.energy, 4)} eV/atom</b>, ${group(facts.group)} (${facts.groupNumber}), ${facts.type ? `${facts.type}, ` : ""}${plural(facts.atoms, "atom")}`;
}
function writePath() {
  const p = DATA.path, fall = 1000 * (p.start.energy - p.best.energy);
  put("path-note", fall > 0
    ? `Basin hopping lowered the energy by ${number(fall, 1)} meV/atom below the best structure of the initial population. The steps are those of walker ${p.walker}, which found the best.`
    : "The best structure was in the initial population; no later step went below it.");
  for (const name of ["start", "best"]) {
    put(`caption-${name}`, caption(p[name], name === "start" ? "Best start" : "Best structure"));
    const shown = structures.get(p[name].drawn) ?? structures.get(p[name].label);
    if (shown) drawCrystal(`crystal-${name}`, shown, false);
  }
}

// --- the answer ----------------------------------------------------------------------------------

const place = phase => html`${group(phase.group)} (${phase.groupNumber})`;
function startAnswer() {
  put("answer-note", `The best structures, relaxed tightly and symmetrised; those that are equal are one phase (${DATA.answerFrom}).`);
  const order = DATA.order, by = order ? html`<br>${order.by}` : "";
  put("answer-order", order ? group(`${order.statement[0].toUpperCase()}${order.statement.slice(1)}.`) : "");
  const others = order ? [html`E<br>eV/atom<br>${order.other}`, html`ΔE<br>meV/atom<br>${order.other}`] : [];
  const titles = ["#", html`E<br>eV/atom${by}`, html`ΔE<br>meV/atom${by}`, ...others, "Space group", "Structure type", "Atoms", "Z", html`Density<br>g/cm³`, "Found", "PK"];
  const shift = others.length, wide = c => c >= 5 + shift, left = c => c === 3 + shift || c === 4 + shift, kind = c => [wide(c) ? "wide" : "", left(c) ? "words" : ""].join(" ");
  const otherCells = p => !order ? [] : p.other === null ? ["–", "–"] : [signed(p.other[0], 4), signed(p.other[1], 1)];
  const rows = DATA.answer.map(p => html`<tr data-label="${p.label}" class="${structures.has(p.label) ? "drawn" : ""}">${
    [html`<i class="dot" style="--c:${p.colour}"></i>${p.rank}`, signed(p.energy, 4), signed(p.above, 1), ...otherCells(p), place(p), p.type, number(p.atoms), number(p.z), signed(p.density, 2), number(p.found), p.pk ?? "–"]
      .map((cell, c) => html`<td class="${kind(c)}">${cell}</td>`)}</tr>`);
  put("table-phases", html`<table class="list phases"><thead><tr>${titles.map((t, c) => html`<th class="${kind(c)}">${t}</th>`)}</tr></thead><tbody>${rows}</tbody></table>`);
  byId("table-phases").addEventListener("click", event => {
    const row = event.target.closest("tr.drawn");
    if (row) choosePhase(row.dataset.label);
  });
  put("buttons-phase", html`<button>CIF</button>`);
  byId("buttons-phase").addEventListener("click", event => { if (event.target.tagName === "BUTTON") downloadCif(chosenPhase, false); });
  const first = DATA.answer.find(p => structures.has(p.label));
  if (first) choosePhase(first.label);
  else byId("answer").querySelector(".browse").remove();
}
function sitesTable(sites) {
  if (!sites.length) return "";
  const magnetic = sites.some(s => s.moment !== null), titles = ["Atom", "x", "y", "z", "Neighbours", ...(magnetic ? [html`Moment<br>μ<sub>B</sub>`] : [])];
  const rows = sites.map(s => [html`${s.element} <small>${s.position}</small>`, ...s.place.map(x => signed(x, 4)), s.neighbours, ...(magnetic ? [maybe(s.moment, 2)] : [])]);
  return html`<details class="sites"><summary>Wyckoff positions</summary><div class="roll">${rowsTable(titles, rows)}</div>${magnetic ? html`<p class="statement">${DATA.momentsNote}</p>` : ""}</details>`;
}
let chosenPhase = null;
function choosePhase(label) {
  const phase = DATA.answer.find(p => p.label === label), shown = structures.get(label);
  chosenPhase = label;
  for (const row of byId("table-phases").querySelectorAll("tr[data-label]")) row.classList.toggle("chosen", row.dataset.label === label);
  drawCrystal("crystal-phase", shown, true);
  put("caption-phase", html`<h3>${place(phase)}</h3><p class="energy">${signed(phase.energy, 4)} eV/atom${DATA.order ? ` (${DATA.order.by})` : ""}</p><p class="statement">${group(phase.statement)}</p><dl>${factsList([
    ["Above the lowest", `${signed(phase.above, 1)} meV/atom`], ...(DATA.order && phase.other ? [[`The same, ${DATA.order.other}`, `${signed(phase.other[1], 1)} meV/atom`]] : []), ["Structure type", phase.type], ["Primitive cell", plural(phase.atoms, "atom")],
    ["Conventional cell", html`${plural(shown.sites.length, "atom")}<br>${cellSizes(shown.sizes)}`], ["Density", `${signed(phase.density, 2)} g/cm³`], ["Found", plural(phase.found, "time")],
    ...shown.targets.map(([name, rms]) => ["Equals", `${name} (rms ${signed(rms, 3)} Å)`]), ["PK", phase.pk ?? "–"]])}</dl>${sitesTable(phase.sites)}`);
  byId("buttons-phase").querySelector("button").disabled = !shown.cif;
}

// --- the table -----------------------------------------------------------------------------------

const ROW = 34, SPARE = 10;
const isMeasured = DATA.ranked.some(r => r[15] !== null);
const columns = [
  ["rank", "#", 0, true], ["energy", html`E<br>eV/atom`, 1, true, v => signed(v, 4)], ["above", html`ΔE<br>meV/atom`, 2, true, v => signed(v, 1)],
  ["group", "Space group", 4, false, (v, r) => html`${group(r[3])} (${v})`], ["type", "Type", 13, false], ["atoms", "Atoms", 6, true], ["z", "Z", 7, true],
  ["volume", html`V/atom<br>Å³`, 8, true, v => signed(v, 2)], ["found", "Found", 9, true], ["cif", "CIF", null, false], isMeasured ? ["move", "Pattern, peaks", 15, true, (v, r) => v === null ? "–" : `${signed(v, 2)}, ${r[16]}`] : ["move", "Made by", 10, false],
  ["label", "Label", 11, false], ["pk", "PK", 12, true],
];
if (DATA.answer.length) columns.splice(1, 0, ["phase", "Phase", 14, true]);
const rest = r => r[14] ?? Infinity;  // those that no phase has come last
const table = { rows: DATA.ranked, sorted: 0, descending: false, chosen: null, first: 0, last: 0 };

function tableHead() {
  put("table-head", columns.map(([name, title, key, isNumber], c) => key === null
    ? html`<span role="columnheader" class="c-${name}">${title}</span>`
    : html`<button role="columnheader" data-column="${c}" class="c-${name} ${isNumber ? "n" : ""}" aria-sort="none">${title}</button>`));
  byId("table-head").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button) sortTable(Number(button.dataset.column));
  });
}
function sortTable(column) {
  table.descending = table.sorted === column && !table.descending;
  table.sorted = column;
  for (const button of byId("table-head").querySelectorAll("button"))
    button.setAttribute("aria-sort", Number(button.dataset.column) === column ? (table.descending ? "descending" : "ascending") : "none");
  fillTable();
}
function fillTable() {
  const key = columns[table.sorted][2], sign = table.descending ? -1 : 1, wanted = byId("filter").value.trim().toLowerCase();
  table.rows = DATA.ranked.filter(r => !wanted || [r[3], r[5], r[4], r[10], r[11], r[12], r[13]].some(v => String(v).toLowerCase().includes(wanted)));
  const value = r => key === 14 ? rest(r) : r[key];
  table.rows.sort((a, b) => sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) || a[0] - b[0]);
  put("count", plural(table.rows.length, "structure"));
  byId("table-body").style.height = `${table.rows.length * ROW}px`;
  byId("table").scrollTop = 0;
  showRows();
}
function rowHtml(r, index) {
  const shown = structures.get(r[11]);
  const cif = shown?.cif ? html`<a href="#" class="cif" data-label="${r[11]}">CIF</a>` : "–";
  const cells = columns.map(([name, , key, isNumber, format]) => key === null ? html`<span role="cell" class="c-${name}">${cif}</span>`
    : html`<span role="cell" class="c-${name} ${isNumber ? "n" : ""}" title="${name === "move" || name === "type" ? r[key] ?? "" : ""}">${format ? format(r[key], r) : r[key] ?? "–"}</span>`);
  const classes = ["row", shown ? "drawn" : "", shown && shown.targets.length ? "target" : "", table.chosen === r[11] ? "chosen" : ""].join(" ");
  return html`<div class="${classes}" role="row" data-label="${r[11]}" style="top:${index * ROW}px">${cells}</div>`;
}
// Only the rows in view are in the page, so that ten thousand scroll like ten.
function showRows() {
  const [first, last] = rowsInView(SPARE);
  Object.assign(table, { first, last });
  put("table-body", table.rows.slice(first, last).map((r, i) => rowHtml(r, first + i)));
}
function rowsInView(spare) {
  const box = byId("table");
  return [Math.max(0, Math.floor(box.scrollTop / ROW) - spare), Math.min(table.rows.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + spare)];
}
// Rows that are in the page stay: a row that is replaced between press and release of a mouse button loses the click.
function scrolled() {
  const [first, last] = rowsInView(0);
  if (first < table.first || last > table.last) showRows();
}
function markChosen() {
  for (const row of byId("table-body").children) row.classList.toggle("chosen", row.dataset.label === table.chosen);
}
function startTable() {
  byId("table").classList.toggle("phased", DATA.answer.length > 0);
  tableHead();
  let waiting = false;
  byId("table").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; scrolled(); });
  }, { passive: true });
  byId("filter").addEventListener("input", fillTable);
  byId("table-body").addEventListener("click", event => {
    const link = event.target.closest("a.cif"), row = event.target.closest(".row");
    if (link) { event.preventDefault(); downloadCif(link.dataset.label, false); }
    else if (row) choose(row.dataset.label);
  });
  byId("table-head").querySelector("button").setAttribute("aria-sort", "ascending");
  fillTable();
}
function downloadCif(label, symmetrised) {
  const shown = structures.get(label);
  if (!shown) return;
  save(new Blob([symmetrised ? shown.cifSymmetrised : shown.cif], { type: "chemical/x-cif" }),
    symmetrised ? shown.file.replace(/\.cif$/, "_symmetrised.cif") : shown.file);
}

// --- the viewer ----------------------------------------------------------------------------------

function choose(label) {
  const shown = structures.get(label);
  if (!shown) return;
  table.chosen = label;
  markChosen();
  drawCrystal("crystal-view", shown, true);
  const r = DATA.ranked.find(row => row[11] === label), found = DATA.lineage.find(x => x.label === label) ?? (DATA.path && [DATA.path.start].find(x => x.label === label));
  put("caption-view", r
    ? viewFacts(html`${group(r[3])} (${r[4]})`, r[1], shown, [["Rank", number(r[0])], ["Above the lowest", `${signed(r[2], 1)} meV/atom`], ["Type", r[13] ?? "–"], ["Volume", `${signed(r[8], 2)} Å³/atom`],
      ["Made by", r[10]], ...(r[15] === null ? [] : [["Similarity to the pattern", signed(r[15], 2)], ["Peaks explained", r[16]]]), ["Found after", plural(r[9], "structure")], ["Label", r[11]], ["PK", r[12]]])
    : viewFacts(html`${group(found.group)} (${found.groupNumber})`, found.energy, shown, [["Type", found.type ?? "–"], ["Volume", `${signed(found.volume, 2)} Å³/atom`], ["Label", label]]));
  const buttons = byId("buttons-view");
  buttons.querySelector("[data-do=cif]").disabled = !shown.cif;
  buttons.querySelector("[data-do=symmetrised]").disabled = !shown.cifSymmetrised;
}
const cellSizes = ([a, b, c, ...angles]) => html`${[a, b, c].map(x => signed(x, 3)).join(", ")} Å<br>${angles.map(x => signed(x, 2)).join(", ")}°`;
function viewFacts(title, energy, shown, facts) {
  const relaxed = [["Atoms", number(shown.relaxed.atoms)], [html`<i>a</i>, <i>b</i>, <i>c</i><br><i>α</i>, <i>β</i>, <i>γ</i>`, cellSizes(shown.relaxed.cell)], ["Volume", `${signed(shown.relaxed.volume, 2)} Å³`]];
  const drawn = [[shown.conventional ? "Conventional cell" : "Cell", html`${plural(shown.sites.length, "atom")}<br>${cellSizes(shown.sizes)}`]];
  return html`<h3>${title}</h3><p class="energy">${signed(energy, 4)} eV/atom</p><dl>${factsList([...facts, ...shown.targets.map(([name, rms]) => ["Equals", `${name} (rms ${signed(rms, 3)} Å)`]), ...drawn])}</dl>
    ${shown.conventional ? html`<details><summary>Cell as relaxed</summary><dl>${factsList(relaxed)}</dl></details>` : ""}`;
}
function startViewer() {
  const buttons = byId("buttons-view");
  put("buttons-view", [["previous", "← Lower"], ["next", "Higher →"], ["cif", "CIF as relaxed"], ["symmetrised", "CIF symmetrised"]]
    .map(([name, title]) => html`<button data-do="${name}">${title}</button>`));
  buttons.addEventListener("click", event => {
    const what = event.target.dataset?.do;
    if (what === "cif" || what === "symmetrised") downloadCif(table.chosen, what === "symmetrised");
    else if (what) step(what === "next" ? 1 : -1);
  });
  choose(drawnLabels()[0]);
}
const drawnLabels = () => DATA.ranked.map(r => r[11]).filter(label => structures.has(label));
function step(by) {
  const labels = drawnLabels(), at = labels.indexOf(table.chosen);
  choose(labels[Math.min(labels.length - 1, Math.max(0, at + by))]);
}

// --- the other parts -----------------------------------------------------------------------------

// With an answer the structures of the search are details: closed until somebody opens them.
let rawIsReady = false;
function writeStructures() {
  const raw = byId("raw");
  if (!DATA.answer.length) {
    raw.replaceWith(...[...raw.children].slice(1));  // all but its summary
    openRaw();
  } else if (!rawIsReady) {
    raw.open = false;
    raw.addEventListener("toggle", () => { if (raw.open) openRaw(); });
  }
}
function openRaw() {
  if (byId("raw")) byId("raw").open = true;
  if (rawIsReady) return;
  rawIsReady = true;
  startTable();
  if (drawnLabels().length) startViewer();
}
// Words with commands in backquotes, space groups and negative numbers.
const sentence = words => words.split(/`([^`]+)`/).map((piece, i) => i % 2 ? html`<code>${piece}</code>` : group(piece.replace(/(^|\s)-(?=\d)/g, "$1\u2212")));
function writeHero() {
  const s = DATA.summary, b = s.best;
  put("title", formula(DATA.formula));
  put("status", `${s.kind === "search" ? "Search" : "Refinement"} ${s.pk}: ${s.status}. ${s.origin}.`);
  put("relaxed-to", DATA.relaxedTo ? `All were ${DATA.relaxedTo}.` : "");
  byId("status").classList.toggle("failed", s.failed);
  const facts = [
    [`Energy, eV/atom${DATA.order ? `, ${DATA.order.by}` : ""}`, b ? signed(b.energy, 4) : "–"], ["Space group", b ? html`${group(b.group)} <small>${b.groupNumber}</small>` : "–"],
    ["Atoms in its cell", b ? number(b.atoms) : "–"], ["Found as number", b && b.number ? number(b.number) : "–"],
    ["Structures tried", number(s.tried)], ["Unique structures", number(s.unique)], ["CPU time", duration(s.cpu)],
  ];
  put("facts", factsList(facts));
  put("conclusion", DATA.conclusion.map(([heading, words]) => html`<div><dt>${heading}</dt><dd>${sentence(words)}</dd></div>`));
  put("made", `Made by aiida-fuse2 ${DATA.version} from ${s.kind} ${s.uuid}.`);
}
function writeTargets() {
  const second = DATA.targets.find(t => t.second)?.second;
  const place = (symbol, n) => n === null ? "?" : html`${group(symbol)} (${n})`;
  put("table-targets", rowsTable(
    ["Target", "Space group", "E, eV/atom", "Found after", "rms, Å", "Space group found", "E found, eV/atom", "ΔE to target, meV/atom", "ΔE to lowest, meV/atom", ...(second ? [`E, eV/atom, ${second}`, `ΔE to lowest phase, meV/atom, ${second}`] : [])],
    DATA.targets.map(t => [t.name, place(t.spacegroup_symbol, t.spacegroup), maybe(t.energy, 4),
      ...(t.found === null ? [t.missed, "–", "–", "–", "–", "–"] : [plural(t.structure_number, "structure"), signed(t.rms, 3), place(t.found_spacegroup_symbol, t.found_spacegroup),
        signed(t.found_energy, 4), t.delta_target === null ? "–" : signed(1000 * t.delta_target, 1), t.delta_best === null ? "–" : signed(1000 * t.delta_best, 1)]),
      ...(second ? [maybe(t.secondEnergy, 4), t.second && t.secondAbove !== null ? signed(1000 * t.secondAbove, 1) : "–"] : [])])));
}
function writeTiers() {
  const tiers = DATA.tiers, total = tiers.reduce((sum, t) => sum + t.cpu, 0) || 1;
  put("table-tiers", rowsTable(["Tier", "Given", "Converged", "Failed", "CPU time", "Share", "CPU s per structure", "Rank correlation"],
    tiers.map((t, i) => [`${i + 1} ${t.name}`, number(t.entered), number(t.converged), number(t.entered - t.converged), duration(t.cpu), `${number(100 * t.cpu / total)} %`,
      t.entered ? number(t.cpu / t.entered, 2) : "–", i === tiers.length - 1 ? "" : maybe(t.correlation, 2)])));
}
function writeMoves() {
  const most = Math.max(...DATA.moves.map(m => m.trials));
  const part = m => m.trials ? `${number(100 * m.accepted / m.trials)} %` : "–";
  put("table-moves", html`<table class="list"><thead><tr><th>Move</th><th class="wide"></th><th>Trials</th><th>Accepted</th><th class="wide"></th><th>New lowest</th><th class="wide">Failed</th></tr></thead><tbody>${
    DATA.moves.map(m => html`<tr><td>${m.name}</td><td class="bar wide"><div style="width:${100 * m.trials / most}%"><i style="width:${100 * m.accepted / (m.trials || 1)}%"></i></div></td><td>${number(m.trials)}</td><td>${number(m.accepted)}</td><td class="wide">${part(m)}</td><td>${number(m.best)}</td><td class="wide">${number(m.failed)}</td></tr>`)}</tbody></table>`);
}
function writeLearned() {
  put("table-learned", html`<table class="list"><thead><tr><th>Kind</th><th class="words">Name</th><th>Trials</th><th>Successes</th><th>Per mean cost</th></tr></thead><tbody>${
    DATA.learned.map(([kind, name, trials, successes, rate], i) => html`<tr><td>${i && DATA.learned[i - 1][0] === kind ? "" : kind}</td><td class="words">${name}</td><td>${number(trials)}</td><td>${number(successes, 1)}</td><td>${maybe(rate, 2)}</td></tr>`)}</tbody></table>`);
}
function writeBars(id, counts, none) {
  const most = Math.max(1, ...counts.map(c => c[1]));
  put(id, counts.length
    ? html`<div class="bars">${counts.map(([name, n]) => html`<span>${name.replace(/_/g, " ")}</span><span><i style="width:${100 * n / most}%"></i></span><span>${number(n)}</span>`)}</div>`
    : html`<p class="empty">${none}</p>`);
}
function writeLineage() {
  const line = DATA.lineage;
  put("lineage-note", DATA.summary.kind !== "search" ? "It was made from the structure of the search that is named; its ancestors are in the report of the search." : line.length === 1 ? "It has no ancestor: it was made whole." : `${plural(line.length - 1, "ancestor")}, the first on top. Each was made from the one above it by the move that is named.`);
  put("line", line.map((x, i) => {
    const change = i ? 1000 * (x.energy - line[i - 1].energy) : 0;
    const delta = i ? html`<span class="${change < 0 ? "down" : "up"}">${change < 0 ? "−" : "+"}${number(Math.abs(change), 1)} meV/atom</span>` : "";
    return html`<li class="${structures.has(x.label) ? "drawn" : ""}" data-label="${x.label}"><span>${signed(x.energy, 4)} eV/atom</span><span>${delta || "start"}</span><span>${group(x.group)} (${x.groupNumber}), ${plural(x.atoms, "atom")} <small>${x.how}, structure ${number(x.number)}</small></span></li>`;
  }));
  byId("line").addEventListener("click", event => {
    const item = event.target.closest("li.drawn");
    if (item) { openRaw(); byId("structures").scrollIntoView(); choose(item.dataset.label); }
  });
}
function writeSettings() {
  const parts = [...DATA.settings, ["Software", DATA.software]].filter(([, rows]) => rows.length);
  put("settings-body", parts.map(([title, rows]) => html`<details><summary>${title}</summary><dl class="keys">${factsList(rows)}</dl></details>`));
}

// --- all of it -----------------------------------------------------------------------------------

// What sections have beside plots: whether it is there, and what writes it.
const sections = {
  path: [DATA.path !== null, writePath], targets: [DATA.targets.length > 0, writeTargets], tiers: [DATA.tiers.length > 0, writeTiers],
  answer: [DATA.answer.length > 0, startAnswer], learned: [DATA.learned.length > 0, writeLearned],
  structures: [DATA.ranked.length > 0, writeStructures],
  moves: [DATA.moves.length > 0, writeMoves],
  failures: [DATA.summary.tried > 0 || DATA.rejections.length > 0, () => { writeBars("bars-failures", DATA.failures, "None."); writeBars("bars-rejections", DATA.rejections, "None."); }],
  lineage: [DATA.lineage.length > 0, writeLineage], settings: [true, writeSettings],
};
const waiting = new Set();
function draw(section) {
  if (!waiting.delete(section)) return;
  sections[section.id]?.[1]();
  section.querySelectorAll(".plot").forEach(drawPlot);
}
function drawAll() {
  [...waiting].forEach(draw);
}
function start() {
  writeHero();
  for (const section of document.querySelectorAll("main section")) {
    if (sections[section.id]?.[0] ?? section.querySelector(".plot")) waiting.add(section); else section.remove();
  }
  const left = [...waiting];
  put("nav", left.map(s => html`<a href="#${s.id}">${s.dataset.title}</a>`));
  byId("nothing").hidden = DATA.summary.explored > 0;
  const watcher = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  left.forEach(s => watcher.observe(s));
  window.addEventListener("beforeprint", drawAll);
}
start();
