'use strict';
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const theme = document.getElementById('theme');
  theme.hidden = false;
  theme.addEventListener('click', () => { root.dataset.theme = dark() ? 'light' : 'dark'; });

  // Fields of comma-separated values, quoted ones included.
  const parse = text => {
    const rows = [[]]; let field = '', quoted = false;
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (quoted) { if (c !== '"') field += c; else if (text[i + 1] === '"') { field += c; i++; } else quoted = false; }
      else if (c === '"') quoted = true;
      else if (c === ',') { rows.at(-1).push(field); field = ''; }
      else if (c === '\n') { rows.at(-1).push(field); field = ''; rows.push([]); }
      else field += c;
    }
    rows.pop();
    return rows;
  };

  for (const figure of document.querySelectorAll('figure')) {
    const pre = figure.querySelector('pre');
    const name = figure.dataset.name;
    const csv = pre ? pre.textContent : '';
    let rows = null;
    const data = () => rows || (rows = parse(csv));
    const details = figure.querySelector('details');
    const table = () => {
      const old = details.querySelector('pre');
      if (!old) return details.querySelector('table');
      const made = document.createElement('table');
      made.className = 'data';
      data().forEach((row, n) => {
        const tr = made.insertRow();
        for (const text of row) {
          const cell = document.createElement(n ? 'td' : 'th');
          if (!n) cell.scope = 'col';
          cell.textContent = text;
          tr.append(cell);
        }
      });
      old.replaceWith(made);
      return made;
    };
    if (details) {
      details.addEventListener('toggle', () => { if (details.open) table(); });
      const save = figure.querySelector('.save');
      save.hidden = false;
      save.addEventListener('click', () => {
        const link = document.createElement('a');
        link.href = URL.createObjectURL(new Blob([csv], { type: 'text/csv' }));
        link.download = name + '.csv';
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      });
    }
    const picture = figure.querySelector('.picture');
    const enlarge = figure.querySelector('.enlarge');
    if (enlarge) {
      enlarge.hidden = false;
      enlarge.addEventListener('click', () => {
        const wide = picture.classList.toggle('wide');
        enlarge.setAttribute('aria-pressed', wide);
      });
    }

    // Tiles, whose order is that of the rows of the data.
    const tiles = picture ? [...picture.querySelectorAll('.tiles rect')] : [];
    if (!tiles.length || !details) continue;
    const reading = figure.querySelector('.reading');
    const boxes = tiles.map(tile => {
      const [x, y, w, h] = ['x', 'y', 'width', 'height'].map(key => parseFloat(tile.getAttribute(key)));
      return { x, y, r: x + w, b: y + h };
    });
    let at = -1;
    const show = (next, keyboard) => {
      if (at >= 0) tiles[at].classList.remove('on');
      at = next;
      tiles[at].classList.add('on');
      // Drawn last, so that neighbours do not cover its outline.
      if (keyboard) tiles[at].scrollIntoView({ block: 'nearest', inline: 'nearest' });
      const header = data()[0], row = data()[at + 1];
      if (!row) return;
      const text = header.map((key, i) => row[i] === '' ? '' : key + ' ' + row[i]).filter(Boolean).join(', ');
      const link = document.createElement('a');
      link.href = '#' + details.id;
      link.textContent = 'row ' + (at + 1) + ' of the data';
      link.addEventListener('click', event => {
        event.preventDefault();
        details.open = true;
        const found = table().rows[at + 1];
        for (const tr of details.querySelectorAll('.found')) tr.classList.remove('found');
        found.classList.add('found');
        found.tabIndex = -1;
        found.focus();
        found.scrollIntoView({ block: 'center' });
      });
      reading.replaceChildren(text + ': ', link);
    };
    // The nearest tile beside, above or below: what overlaps first, then what is closest.
    const beside = (dx, dy) => {
      const a = boxes[at], cx = (a.x + a.r) / 2, cy = (a.y + a.b) / 2;
      let best = -1, least = Infinity;
      boxes.forEach((b, i) => {
        const ahead = dx > 0 ? b.x - a.r : dx < 0 ? a.x - b.r : dy > 0 ? b.y - a.b : a.y - b.b;
        if (i === at || ahead < -0.1) return;
        const off = dx ? Math.max(b.y - cy, cy - b.b, 0) : Math.max(b.x - cx, cx - b.r, 0);
        const distance = ahead + 1000 * off + 0.001 * (dx ? Math.abs((b.y + b.b) / 2 - cy) : Math.abs((b.x + b.r) / 2 - cx));
        if (distance < least) { least = distance; best = i; }
      });
      return best;
    };
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    picture.addEventListener('keydown', event => {
      const step = steps[event.key];
      let next = event.key === 'Home' ? 0 : event.key === 'End' ? tiles.length - 1 : -1;
      if (step) next = at < 0 ? 0 : beside(...step);
      if (!step && next < 0) return;
      event.preventDefault();
      if (next >= 0) show(next, true);
    });
    picture.addEventListener('focus', () => { if (at < 0) show(0, false); });
    picture.addEventListener('pointerover', event => {
      const next = tiles.indexOf(event.target);
      if (next >= 0 && next !== at) show(next, false);
    });
  }
})();
