"use strict";
(() => {
  const find = (id) => document.getElementById(id);

  const bytes = (count) => {
    const units = ["KiB", "MiB", "GiB", "TiB"];
    if (count < 1024) return `${count} B`;
    const step = Math.min(Math.floor(Math.log(count) / Math.log(1024)), units.length);
    return `${(count / 1024 ** step).toFixed(1)} ${units[step - 1]}`;
  };

  // Search: a row stays when it holds every word.
  const table = find("bill-table");
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
  const search = find("search");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    find("found").textContent = words.length ? `${shown} of ${rows.length}` : `${rows.length} in all`;
  };
  search.addEventListener("input", filter);
  find("search-part").hidden = false;
  filter();

  // The map of sizes. Squarified treemap: rows of boxes along the shorter side, each row as square as it gets.
  if (!find("map-data")) return;
  const HEADER = 20; // pixels above the boxes of a group
  const map = find("map");
  const path = [JSON.parse(find("map-data").textContent)];

  const worst = (largest, smallest, area, side) =>
    Math.max((side ** 2 * largest) / area ** 2, area ** 2 / (side ** 2 * smallest));

  const layout = (boxes, x, y, width, height) => {
    const placed = [];
    let left = boxes.reduce((sum, box) => sum + box.size, 0);
    for (let first = 0; first < boxes.length && width > 0 && height > 0; ) {
      const side = Math.min(width, height);
      const scale = (width * height) / left;
      let [area, ratio, end] = [0, Infinity, first];
      for (; end < boxes.length; end += 1) {
        const next = boxes[end].size * scale;
        const now = worst(boxes[first].size * scale, next, area + next, side);
        if (now > ratio) break;
        area += next;
        ratio = now;
      }
      const thick = area / side;
      let along = 0;
      for (const box of boxes.slice(first, end)) {
        const long = (box.size * scale) / thick;
        placed.push(width < height ? [box, x + along, y, long, thick] : [box, x, y + along, thick, long]);
        along += long;
        left -= box.size;
      }
      if (width < height) [y, height] = [y + thick, height - thick];
      else [x, width] = [x + thick, width - thick];
      first = end;
    }
    return placed;
  };

  const draw = (box, way, [x, y, width, height], nested) => {
    const opens = Boolean(box.inside);
    const element = document.createElement(opens ? "button" : "div");
    element.className = `box kind-${box.kind}`;
    const share = ((100 * box.size) / path[0].size).toFixed(1);
    const told = `${box.name}: ${bytes(box.size)}, ${share} % of the image, ${box.files.toLocaleString("en")} files`;
    element.title = told;
    element.setAttribute("aria-label", told);
    if (opens) element.type = "button";
    else element.setAttribute("role", "img");
    // A file does not open; within a box it opens that.
    const target = opens ? way : way.slice(0, -1);
    if (target.length) element.addEventListener("click", () => open([...path, ...target]));
    // Who walks by keyboard takes one level after the other.
    if (nested) {
      element.tabIndex = -1;
      element.setAttribute("aria-hidden", "true");
    }
    // In parts of the map: on paper it is narrower than on the screen, and nobody draws it anew.
    const [across, down] = [100 / map.clientWidth, 100 / map.clientHeight];
    const place = { left: x * across, top: y * down, width: width * across, height: height * down };
    for (const [side, value] of Object.entries(place)) element.style[side] = `${value}%`;
    const name = opens ? box.name : box.name.replace(/^.*[/]/, "");
    const texts = width > 40 && height > 18 ? [name, ...(height > 36 && width > 72 ? [bytes(box.size)] : [])] : [];
    for (const text of texts) element.appendChild(document.createElement("span")).textContent = text;
    map.append(element);
    return element;
  };

  const render = () => {
    const here = path.at(-1);
    const [width, height] = [map.clientWidth, map.clientHeight];
    map.replaceChildren();
    for (const [box, x, y, wide, high] of layout(here.inside, 0, 0, width, height)) {
      const element = draw(box, [box], [x, y, wide, high], false);
      if (!box.inside || wide < 90 || high < 60) continue;
      element.classList.add("head");
      element.firstChild.textContent = `${box.name}, ${bytes(box.size)}`;
      if (element.children.length > 1) element.lastChild.remove();
      const within = layout(box.inside, x + 3, y + HEADER, wide - 6, high - HEADER - 3);
      for (const [inner, ...place] of within) draw(inner, [box, inner], place, true);
    }
    find("map-state").textContent = `${bytes(here.size)} in ${here.files.toLocaleString("en")} files`;
    const steps = path.map((box, index) => {
      const last = index === path.length - 1;
      const step = document.createElement(last ? "span" : "button");
      step.textContent = box.name;
      if (last) step.setAttribute("aria-current", "true");
      else step.addEventListener("click", () => open(path.slice(0, index + 1)));
      return last ? [step] : [step, "/"];
    });
    find("map-path").replaceChildren(...steps.flat());
  };

  const open = (way) => {
    path.splice(0, path.length, ...way);
    render();
    // The box that had the focus is gone.
    (map.querySelector("button") || find("map-path").querySelector("button"))?.focus({ preventScroll: true });
  };

  find("map-part").hidden = false;
  find("size").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && path.length > 1) open(path.slice(0, -1));
  });
  let width = map.clientWidth;
  new ResizeObserver(() => {
    if (map.clientWidth === width) return;
    width = map.clientWidth;
    render();
  }).observe(map);
  render();
})();
