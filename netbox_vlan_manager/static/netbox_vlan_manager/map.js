// The maps of VLAN IDs and networks: one tab stop each with arrow keys instead of thousands, and a cell's label at it.
(() => {
  const tooltip = document.createElement("div");
  tooltip.className = "tooltip vlan-map-tooltip";
  tooltip.setAttribute("aria-hidden", "true");
  const text = tooltip.appendChild(document.createElement("div"));
  text.className = "tooltip-inner";
  document.body.append(tooltip);

  let shown = null;

  function show(cell) {
    shown = cell;
    text.textContent = cell.ariaLabel;
    const target = cell.getBoundingClientRect();
    const box = tooltip.getBoundingClientRect();
    const left = target.left + target.width / 2 - box.width / 2;
    const above = target.top - box.height - 6;
    tooltip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - box.width - 4))}px`;
    tooltip.style.top = `${above < 4 ? target.bottom + 6 : above}px`;
    tooltip.classList.add("show");
  }

  function hide() {
    shown = null;
    tooltip.classList.remove("show");
  }

  function start(map) {
    // A group has ten VLAN IDs or eight networks, and a row so many groups.
    const group = Number(map.dataset.group);
    const row = Number(map.dataset.row);
    // Each row is a list of its places, those of the VLAN IDs that the map leaves out included.
    const rows = [...map.querySelectorAll(".vlan-map-tens")].map((tens) =>
      [...tens.children].flatMap((ten) => Array.from({ length: group }, (_, index) => ten.children[index])),
    );
    const cells = rows.flat().filter((place) => place?.ariaLabel);
    const places = new Map(rows.flatMap((cells, number) => cells.map((place, index) => [place, row * number + index])));

    function find(place, step) {
      for (let next = place + step; next >= 0 && next < row * rows.length; next += step) {
        const cell = rows[Math.floor(next / row)][next % row];
        if (cell?.ariaLabel) {
          return cell;
        }
      }
      return null;
    }

    function target(key, cell) {
      const line = group * getComputedStyle(cell.parentElement.parentElement).gridTemplateColumns.split(" ").length;
      switch (key) {
        case "Home":
          return cells[0];
        case "End":
          return cells.at(-1);
        case "ArrowLeft":
          return find(places.get(cell), -1);
        case "ArrowRight":
          return find(places.get(cell), 1);
        case "ArrowUp":
          return find(places.get(cell), -line);
        case "ArrowDown":
          return find(places.get(cell), line);
        case "PageUp":
          return find(places.get(cell), -row);
        case "PageDown":
          return find(places.get(cell), row);
        default:
          return undefined;
      }
    }

    let current = cells[0];
    for (const cell of cells) {
      cell.tabIndex = -1;
    }
    current.tabIndex = 0;

    map.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        hide();
      }
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !places.has(event.target)) {
        return;
      }
      const next = target(event.key, event.target);
      if (next !== undefined) {
        event.preventDefault();
        next?.focus();
      }
    });

    map.addEventListener("focusin", (event) => {
      if (places.has(event.target)) {
        current.tabIndex = -1;
        current = event.target;
        current.tabIndex = 0;
        show(current);
      }
    });
    map.addEventListener("focusout", hide);

    map.addEventListener("pointerover", (event) => {
      if (event.target.ariaLabel && places.has(event.target)) {
        show(event.target);
      } else {
        hide();
      }
    });
    map.addEventListener("pointerleave", hide);
    map.dataset.ready = "";
  }

  for (const map of document.querySelectorAll(".vlan-map")) {
    start(map);
  }
  // Going to a cell may scroll it into view.
  document.addEventListener("scroll", () => shown && show(shown), { passive: true });
})();
