// The objects of a set by size: filters, a histogram, and a grid that holds only the tiles in view.
// What is shown comes from the page's own data and enters the page as text, never as markup.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { bins, scores, outcomes } = data;
  const total = data.area.length;
  const letters = ["A", "B"].slice(0, scores.length);
  const counted = (n) => n.toLocaleString("en-US");
  const objects = (n) => `${counted(n)} object${n === 1 ? "" : "s"}`;
  const sizeOf = (n) => data.sizes[data.size[n]];
  const classOf = (n) => data.classes[data.class[n]];
  const imageOf = (n) => data.images[data.image[n]];
  const keyOf = (n) => `${imageOf(n)}/${data.instance[n]}`;
  const resultOf = (score, n) => `${score.text[n]} ${outcomes[score.outcome[n]]}`;

  const filled = (made, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const html = (name, attributes, ...children) =>
    filled(document.createElement(name), attributes, children);
  const svg = (name, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  // --- state: the controls, the chosen sizes and areas; all of it stands in the address ---------

  const orders = { // what can be ordered by: its label and its value
    area: ["area", (n) => data.area[n]],
    class: ["class", (n) => data.class[n]],
    source: ["source", (n) => data.source[n]],
    image: ["image id", (n) => data.image[n]],
  };
  const choices = { class: data.class }; // controls that choose one value of a column
  if (byId("source")) choices.source = data.source;
  scores.forEach((score, k) => {
    orders[`ia-${letters[k]}`] = [`IA of ${letters[k]}`, (n) => score.ia[n]];
    orders[`outcome-${letters[k]}`] = [`outcome of ${letters[k]}`, (n) => score.outcome[n]];
    choices[`outcome-${letters[k]}`] = score.outcome;
  });
  const [first, second] = scores;
  if (second) orders.difference = ["IA, A minus B", (n) => first.ia[n] - second.ia[n]];
  for (const [value, [label]] of Object.entries(orders)) {
    byId("order").append(html("option", { value }, label));
  }
  const controls = ["text", "order", ...Object.keys(choices)].map(byId);
  const boxes = [byId("descending"), byId("plain")];
  let sizes = new Set(); // empty for all
  let range = null; // areas of the histogram's chosen bars: from, below
  let shown = []; // numbers of the objects that pass the filters, in their order
  let active = -1; // place in it

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const control of controls) {
      control.value = given.get(control.id) ?? "";
      if (control.selectedIndex < 0) control.selectedIndex = 0; // no such choice
    }
    for (const box of boxes) box.checked = given.has(box.id);
    sizes = new Set(given.getAll("size").map((name) => data.sizes.indexOf(name)).filter((k) => k >= 0));
    const area = /^(\d+)-(\d+)$/.exec(given.get("area") ?? "");
    range = area && [Number(area[1]), Number(area[2])];
    return given.get("object");
  }

  function writeAddress() {
    const said = new URLSearchParams();
    for (const { id, value, selectedIndex } of controls) {
      if (value && selectedIndex !== 0) said.set(id, value); // the first choice is the default
    }
    for (const box of boxes) if (box.checked) said.set(box.id, "yes");
    for (const k of [...sizes].sort()) said.append("size", data.sizes[k]);
    if (range) said.set("area", range.join("-"));
    if (large.open) said.set("object", keyOf(shown[active]));
    history.replaceState(null, "", `#${said}`);
  }

  function apply() {
    const text = byId("text").value.trim().toLowerCase();
    const hasText = data.images.map((image) => image.toLowerCase().includes(text));
    const chosen = Object.entries(choices).filter(([id]) => byId(id).value !== "")
      .map(([id, column]) => [column, Number(byId(id).value)]);
    const inBins = new Array(bars.length).fill(0);
    shown = [];
    for (let n = 0; n < total; n++) {
      if (!hasText[data.image[n]] || chosen.some(([column, value]) => column[n] !== value)) continue;
      if (sizes.size && !sizes.has(data.size[n])) continue;
      inBins[binOf[n]]++;
      if (!range || (data.area[n] >= range[0] && data.area[n] < range[1])) shown.push(n);
    }
    const value = orders[byId("order").value][1];
    const sign = byId("descending").checked ? -1 : 1;
    shown.sort((m, n) => sign * (value(m) - value(n)) || m - n);
    active = shown.length ? 0 : -1;
    drawHistogram(inBins);
    for (const button of document.querySelectorAll("[data-toggle]")) {
      button.setAttribute("aria-pressed", sizes.has(Number(button.dataset.toggle)));
    }
    const areas = range ? `, area ${counted(range[0])} to ${counted(range[1] - 1)}` : "";
    byId("status").textContent = `${counted(shown.length)} of ${objects(total)}${areas}`;
    document.body.classList.toggle("plain", byId("plain").checked);
    writeAddress();
    layout();
  }

  function toggleSize(k) {
    if (!sizes.delete(k)) sizes.add(k);
    apply();
  }

  // --- histogram: a button for each bin of area, at its place on a log scale --------------------

  const histogram = byId("histogram");
  const share = (area) => Math.log(area / bins[0]) / Math.log(bins.at(-1) / bins[0]) * 100;
  const binOf = data.area.map((area) => bins.findLastIndex((low) => low <= area));
  const bars = bins.slice(0, -1).map((low, k) => {
    const bar = html("button", { type: "button", tabindex: k ? -1 : 0 }, html("i", {}), html("b", {}));
    bar.style.left = `${share(low)}%`;
    bar.style.width = `${share(bins[k + 1]) - share(low)}%`;
    return bar;
  });
  const marked = (name, left, text = "") => {
    const mark = html("span", { class: name, "aria-hidden": "true" }, text);
    mark.style.left = `${left}%`;
    return mark;
  };
  const edges = data.edges.map(([edge]) => edge);
  const ends = [bins[0], ...edges, bins.at(-1)].map(share);
  histogram.append(
    ...bars,
    ...edges.map((edge) => marked("limit", share(edge))),
    ...data.edges.map(([edge, label]) => marked("word of-limit", share(edge), label)),
    ...(data.intervals ? data.sizes : [])
      .map((name, k) => marked("word of-size", (ends[k] + ends[k + 1]) / 2, name)),
    ...[1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter((area) => area >= bins[0] && area < bins.at(-1))
      .map((area) => marked("word of-area", share(area), counted(area))));

  function drawHistogram(inBins) {
    const most = Math.max(1, ...inBins);
    bars.forEach((bar, k) => {
      const height = `${inBins[k] / most * 88}%`;
      bar.children[0].style.height = inBins[k] ? `max(2px, ${height})` : "0";
      bar.children[1].style.bottom = `calc(${height} + 2px)`;
      bar.children[1].textContent = inBins[k] ? counted(inBins[k]) : "";
      bar.setAttribute("aria-pressed", !!range && bins[k] >= range[0] && bins[k + 1] <= range[1]);
      bar.setAttribute("aria-label",
        `area ${counted(bins[k])} to ${counted(bins[k + 1] - 1)}: ${objects(inBins[k])}`);
    });
  }

  function chooseBars(one, other) {
    const wanted = [bins[Math.min(one, other)], bins[Math.max(one, other) + 1]];
    range = String(range) === String(wanted) ? null : wanted;
    apply();
  }

  let pressed = 0; // the bar on which a pointer went down, and from which Shift counts
  const barAt = (target) => bars.indexOf(target.closest("button"));
  histogram.addEventListener("pointerdown", (event) => {
    if (event.shiftKey || barAt(event.target) < 0) return;
    event.target.releasePointerCapture(event.pointerId); // so that a finger meets further bars
    pressed = barAt(event.target);
  });
  histogram.addEventListener("pointerup", (event) => {
    const last = barAt(event.target);
    if (last >= 0 && last !== pressed && !event.shiftKey) chooseBars(pressed, last);
  });
  histogram.addEventListener("click", (event) => {
    const k = barAt(event.target);
    if (k < 0) return; // a drag over several bars, which ended above
    chooseBars(event.shiftKey ? pressed : k, k);
    if (!event.shiftKey) pressed = k;
  });
  histogram.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step && bars[barAt(event.target) + step];
    if (!next) return;
    event.preventDefault();
    for (const bar of bars) bar.tabIndex = bar === next ? 0 : -1;
    next.focus();
  });

  // --- crops: blocks of the page, or scripts beside it that call sbdataCrops --------------------

  const KEPT = 40; // lists of crops in memory
  const lists = new Map(); // number -> crops, the latest last
  const waiting = new Map(); // number -> what to do when they are there

  function withCrop(n, use) {
    const number = Math.floor(n / data.perFile);
    const of = (crops) => use(crops[n % data.perFile]);
    if (lists.has(number)) return of(lists.get(number));
    if (waiting.has(number)) return waiting.get(number).push(of);
    waiting.set(number, [of]);
    const block = byId(`crops-${number}`);
    if (block) return globalThis.sbdataCrops(number, JSON.parse(block.textContent));
    const script = html("script", { src: data.files[number] });
    script.onerror = () => {
      byId("status").textContent = `${data.files[number]} is missing: copy the page's whole folder`;
    };
    document.head.append(script);
  }

  globalThis.sbdataCrops = (number, crops) => {
    lists.set(number, crops);
    if (lists.size > KEPT) lists.delete(lists.keys().next().value);
    for (const use of waiting.get(number) ?? []) use(crops);
    waiting.delete(number);
  };

  function outline(path, kind) {
    if (!path) return "";
    const casing = svg("path", { d: path, class: "casing" });
    return svg("g", { class: kind }, casing, svg("path", { d: path }));
  }

  // Draw a crop: the photo and, with marks, what score k predicted (if it is one) and outlines.
  function view([jpeg, width, height, own, others, ...predicted], k, marks = true) {
    const fine = Math.max(width, height) <= 128 ? "views fine" : "views";
    const made = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: fine, "aria-hidden": "true" },
      svg("image", { href: `data:image/jpeg;base64,${jpeg}`, width, height }));
    if (marks && predicted[k]) made.append(svg("path", { d: predicted[k], class: "found" }));
    if (marks) made.append(outline(others, "sibling"), outline(own, "truth"));
    return made;
  }

  // --- grid ------------------------------------------------------------------------------------

  const grid = byId("grid");
  const drawn = scores.map((_, k) => k).filter((k) => data.pixels[k]); // scores with their pixels
  const views = drawn.length ? drawn : [-1];
  const GAP = 14;
  const LEAST = [150, 170, 340][scores.length]; // width of a tile that has room for its words
  const tiles = new Map(); // place -> element
  let [width, columns, tileWidth, step] = [0, 1, LEAST, 200];

  function tileOf(place) {
    const n = shown[place];
    const letter = (k) => (scores.length > 1 && letters[k] ? { "data-letter": letters[k] } : {});
    const panels = views.map((k) => html("div", { class: "panel", ...letter(k) }, svg("svg", {})));
    const said = [`${classOf(n)}, ${sizeOf(n)}, ${counted(data.area[n])} pixels`,
      ...scores.map((score, k) => `IA of ${letters[k]} ${resultOf(score, n)}`), `image ${imageOf(n)}`];
    const tile = html("div", {
      class: "tile", role: "option", id: `object-${n}`, "aria-label": said.join("; "),
      "aria-setsize": shown.length, "aria-posinset": place + 1, "aria-selected": place === active,
    }, html("div", { class: "panels" }, ...panels),
    html("p", {}, `${classOf(n)} · ${counted(data.area[n])} px`));
    const results = scores.map((score, k) =>
      html("p", {}, `${scores.length > 1 ? letters[k] : "IA"} ${resultOf(score, n)}`));
    if (results.length) tile.append(html("div", { class: "results" }, ...results));
    if (data.difference) tile.append(html("p", { class: "quiet" }, `A minus B ${data.difference[n]}`));
    withCrop(n, (crop) => views.forEach((k, at) => panels[at].replaceChildren(view(crop, k))));
    const [x, y] = [place % columns * (tileWidth + GAP), Math.floor(place / columns) * step];
    tile.style.transform = `translate(${x}px, ${y}px)`;
    tile.addEventListener("click", () => { activate(place); openLarge(); });
    return tile;
  }

  function layout() {
    width = grid.clientWidth;
    columns = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
    tileWidth = Math.floor((width + GAP) / columns) - GAP;
    grid.style.setProperty("--tile", `${tileWidth}px`);
    tiles.clear();
    grid.replaceChildren(shown.length ? tileOf(0) : html("p", {}, "No object passes these filters."));
    step = grid.firstChild.offsetHeight + GAP; // all tiles are as high as the first
    grid.style.height = `${Math.max(1, Math.ceil(shown.length / columns)) * step - GAP}px`;
    if (shown.length) grid.replaceChildren();
    draw();
  }

  // Keep the tiles of the rows in view, and of one screen before and after.
  function draw() {
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - innerHeight) / step)) * columns;
    const end = Math.min(shown.length, Math.ceil((top + 2 * innerHeight) / step) * columns);
    for (const [place, tile] of tiles) {
      if (place >= first && place < end) continue;
      tile.remove();
      tiles.delete(place);
    }
    for (let place = end - 1; place >= first; place--) {
      if (tiles.has(place)) continue;
      tiles.set(place, tileOf(place));
      grid.insertBefore(tiles.get(place), tiles.get(place + 1) ?? null);
    }
    grid.setAttribute("aria-activedescendant", tiles.has(active) ? `object-${shown[active]}` : "");
  }

  function activate(place) {
    tiles.get(active)?.setAttribute("aria-selected", "false");
    active = Math.max(0, Math.min(shown.length - 1, place));
    const top = grid.getBoundingClientRect().top + Math.floor(active / columns) * step;
    if (top < 0) scrollBy(0, top - GAP);
    else if (top + step > innerHeight) scrollBy(0, top + step - innerHeight);
    draw();
    tiles.get(active).setAttribute("aria-selected", "true");
  }

  // --- larger view -----------------------------------------------------------------------------

  const large = byId("large");

  function openLarge() {
    const n = shown[active];
    const area = counted(data.area[n]);
    byId("large-title").textContent = `${classOf(n)}, ${area} pixels (${sizeOf(n)})`;
    const figure = (made, said) => html("figure", {}, made, html("figcaption", {}, said));
    withCrop(n, (crop) => byId("large-views").replaceChildren(
      figure(view(crop, -1, false), "photo"), figure(view(crop, -1), "truth"),
      ...drawn.map((k) => figure(view(crop, k), `${letters[k]}: ${scores[k].title}`))));
    const facts = scores.flatMap((score, k) => [
      [`IA of ${letters[k]}`, resultOf(score, n)],
      [`pixels of ${letters[k]}`, `${counted(score.tp[n])} of ${area} found; `
        + `${counted(score.fp[n])} false ones attributed`
        + (score.other[n] ? `; most others predicted as ${score.other[n]}` : "")]]);
    if (data.difference) facts.push(["A minus B", data.difference[n]]);
    facts.push(["image", imageOf(n)], ["object", data.instance[n]],
      ["source", data.sources[data.source[n]]]);
    byId("large-facts").replaceChildren(
      ...facts.flatMap(([what, value]) => [html("dt", {}, what), html("dd", {}, value)]));
    [byId("former").disabled, byId("next").disabled] = [!active, active === shown.length - 1];
    if (!large.open) { large.showModal(); byId("close").focus(); }
    writeAddress();
  }

  function turn(by) {
    if (shown[active + by] === undefined) return;
    activate(active + by);
    openLarge();
  }

  byId("former").onclick = () => turn(-1);
  byId("next").onclick = () => turn(1);
  byId("close").onclick = () => large.close();
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
  large.addEventListener("close", () => { writeAddress(); grid.focus({ preventScroll: true }); });

  // --- keyboard, clicks, scrolling -------------------------------------------------------------

  const sizeKeys = new Map(); // the first letter of each size, unless it is taken
  data.sizes.forEach((name, k) => {
    const letter = name[0].toLowerCase();
    if (sizeKeys.has(letter) || letter === "p") return;
    sizeKeys.set(letter, k);
    document.querySelector(`[data-toggle="${k}"]`).setAttribute("aria-keyshortcuts", letter);
    byId("size-keys").append(html("kbd", {}, letter), " ");
  });

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (large.open) return turn({ ArrowLeft: -1, ArrowRight: 1 }[key] ?? NaN);
    if (target === byId("text") || (target.matches("select") && key !== "/")) return;
    if (sizeKeys.has(key)) return toggleSize(sizeKeys.get(key));
    if (key === "p") return byId("plain").click();
    const page = Math.max(1, Math.floor(innerHeight / step)) * columns;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
      PageUp: -page, PageDown: page, Home: -active, End: shown.length };
    if (key === "/") byId("text").focus();
    else if ((target !== grid && target !== document.body) || !shown.length) return;
    else if (key === "Enter" && target === grid) openLarge();
    else if (key in moves) {
      grid.focus({ preventScroll: true });
      activate(active + moves[key]);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-toggle], [data-class]")?.dataset;
    if (chosen?.toggle) toggleSize(Number(chosen.toggle));
    if (!chosen || chosen.toggle) return;
    byId("class").value = chosen.class;
    sizes = new Set(chosen.size === "" ? [] : [Number(chosen.size)]);
    range = null;
    apply();
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("text").addEventListener("input", apply);
  byId("filters").addEventListener("change", ({ target }) => { if (target.id !== "text") apply(); });
  byId("filters").addEventListener("reset", () => {
    sizes.clear();
    range = null;
    setTimeout(apply); // when the controls have their first values
  });

  addEventListener("scroll", draw, { passive: true }); // comes once a frame
  new ResizeObserver(() => { if (grid.clientWidth !== width) layout(); }).observe(grid);

  function show() {
    const object = readAddress();
    large.close();
    apply();
    const place = shown.findIndex((n) => keyOf(n) === object);
    if (place >= 0) { activate(place); openLarge(); }
  }
  addEventListener("hashchange", show);
  show();
})();
