'use strict';

// An element with properties and children.
const make = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const embedded = id => JSON.parse(document.getElementById(id)?.textContent ?? 'null');

// A number as everywhere else (src/numerics/shown.rs): the shortest decimal that reads back as it, rounded to so many
// digits, halves away from zero; the part before the decimal point stays whole below a million.
const shown = (x, most = 4) => {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'no value' : x < 0 ? '-infinite' : 'infinite';
  if (x === 0) return '0';
  let [digits, power] = Math.abs(x).toExponential().split('e');
  [digits, power] = [digits.replace('.', ''), Number(power)];
  const plain = power => power >= -4 && power <= 5;
  const kept = Math.max(most, plain(power) ? power + 1 : 1, 1);
  if (digits.length > kept) {
    const up = digits[kept] >= '5', head = digits.slice(0, kept).replace(up ? /9*$/ : /$/, '');
    if (!up) digits = head;
    else if (head) digits = head.slice(0, -1) + (Number(head.at(-1)) + 1);
    else [digits, power] = ['1', power + 1];
  }
  digits = digits.replace(/0+$/, '');
  const point = (before, after) => (x < 0 ? '-' : '') + before + (after ? '.' + after : '');
  if (!plain(power)) return point(digits[0], digits.slice(1)) + 'e' + power;
  if (power < 0) return point('0', '0'.repeat(-power - 1) + digits);
  return point(digits.slice(0, power + 1).padEnd(power + 1, '0'), digits.slice(power + 1));
};
const exact = x => shown(x, 17);
// As many digits as tell some numbers apart.
const apart = (numbers, least = 4) => {
  const alike = digits => new Set(numbers.map(x => shown(x, digits))).size < new Set(numbers).size;
  let digits = least;
  while (digits < 17 && alike(digits)) digits++;
  return digits;
};

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

const save = (name, type, text) => {
  const link = make('a', { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

// A button that copies the text of a place beside it, or selects it where the browser lets nothing be copied.
const copyButton = place => {
  const button = make('button', { type: 'button', textContent: 'Copy' });
  button.setAttribute('aria-label', 'Copy the command');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(place);
      button.textContent = document.execCommand('copy') ? 'Copied' : 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  return button;
};

const index = embedded('cells') ?? { axes: [], cells: {} };
// A field of data for people: levels as they are written everywhere, whole numbers whole.
const brief = (name, field) => {
  const axis = index.axes.find(axis => axis.path === name);
  if (axis) return axis.labels[axis.levels.indexOf(field)] ?? field;
  return field === '' || /^-?\d+$/.test(field) || !Number.isFinite(Number(field)) ? field : shown(Number(field));
};
// How many cells there are at levels given by path, and the ids of some; null where the page does not know.
const cellsAt = levels => {
  const key = index.axes.map(axis => axis.levels.indexOf(levels[axis.path]));
  const entry = key.length && !key.includes(-1) ? index.cells[key.join(',')] : null;
  if (!entry) return null;
  const [all, ...ids] = entry.split(' ');
  return { all: Number(all), ids };
};

// Shows how to come to the manifests of the cells at some levels.
const showCells = (place, levels) => {
  const found = cellsAt(levels);
  if (!found || !found.ids.length) {
    place.replaceChildren('Its cells are the rows of cells.parquet with these levels; cliffline show prints the manifest of each.');
    return;
  }
  const { all, ids } = found;
  const command = make('code', { className: 'command' });
  const here = make('a', { textContent: 'its manifest on this page' });
  const choice = make('select', {}, ...ids.map(id => make('option', { textContent: id })));
  const choose = () => {
    command.textContent = 'cliffline show . ' + choice.value;
    here.href = '#cell-' + choice.value;
    here.hidden = !document.getElementById('cell-' + choice.value);
  };
  choice.addEventListener('change', choose);
  choose();
  const some = ids.length < all ? ` (the first ${ids.length} of ${all})` : '';
  place.replaceChildren(
    make('label', {}, `Audit manifest of cell${some} `, choice), ' ', command, ' ', copyButton(command), ' in the folder of the run ', here);
};

// Lets the tiles of a picture be read with the mouse and with arrow keys; `tell` has a tile's text, levels and perhaps a
// link. Returns what takes the tiles of the picture, for it may be drawn anew.
const reader = (picture, reading, place, tell) => {
  let tiles = [], boxes = [], at = -1;
  // Over all tiles, so that neighbours do not cover it.
  const mark = ['#000', '#fff'].map((stroke, i) => {
    const outline = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    outline.setAttribute('style', `fill:none;stroke:${stroke};stroke-width:${5 - 3 * i};pointer-events:none`);
    return outline;
  });
  const show = (next, keyboard) => {
    at = next;
    for (const outline of mark) {
      for (const key of ['x', 'y', 'width', 'height']) outline.setAttribute(key, tiles[at].getAttribute(key));
      tiles[at].ownerSVGElement.append(outline);
    }
    if (keyboard) tiles[at].scrollIntoView({ block: 'nearest', inline: 'nearest' });
    const told = tell(at);
    if (!told) return;
    reading.replaceChildren(...told.link ? [told.text + ': ', told.link] : [told.text]);
    showCells(place, told.levels);
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
    if (!tiles.length || (!step && next < 0)) return;
    if (step) next = at < 0 ? 0 : beside(...step);
    event.preventDefault();
    if (next >= 0) show(next, true);
  });
  picture.addEventListener('focus', () => { if (at < 0 && tiles.length) show(0, false); });
  picture.addEventListener('pointerover', event => {
    const next = tiles.indexOf(event.target);
    if (next >= 0 && next !== at) show(next, false);
  });
  return found => {
    [tiles, at] = [found, -1];
    boxes = tiles.map(tile => {
      const [x, y, w, h] = ['x', 'y', 'width', 'height'].map(key => parseFloat(tile.getAttribute(key)));
      return { x, y, r: x + w, b: y + h };
    });
    reading.replaceChildren();
    place.replaceChildren();
  };
};

// On narrow screens pictures keep a size at which they can be read, and scroll; this shows the whole of one.
for (const whole of document.querySelectorAll('.whole')) {
  whole.hidden = false;
  whole.addEventListener('click', () => {
    const fits = whole.closest('figure').querySelector('.picture').classList.toggle('fit');
    whole.setAttribute('aria-pressed', fits);
  });
}

// Saved as it stands: read as JSON, a whole number would lose what a script's numbers have not.
for (const pre of document.querySelectorAll('pre.manifest')) {
  const button = make('button', { type: 'button', textContent: 'Save as JSON' });
  button.addEventListener('click', () => save('cell-' + pre.dataset.name + '.json', 'application/json', pre.textContent));
  pre.closest('details').append(button);
}
for (const command of document.querySelectorAll('.cell .command')) command.after(' ', copyButton(command));

for (const figure of document.querySelectorAll('figure[data-name]')) {
  const details = figure.querySelector('details');
  if (!details) continue;
  const name = figure.dataset.name;
  const csv = figure.querySelector('pre').textContent;
  let rows = null;
  const data = () => rows || (rows = parse(csv));
  const table = () => {
    const old = details.querySelector('pre');
    if (!old) return details.querySelector('table');
    const made = make('table', { className: 'data' });
    data().forEach((row, n) => {
      const tr = made.insertRow();
      for (const text of row) {
        const cell = make(n ? 'td' : 'th', { textContent: text });
        if (!n) cell.scope = 'col';
        tr.append(cell);
      }
    });
    old.replaceWith(made);
    return made;
  };
  details.addEventListener('toggle', () => { if (details.open) table(); });
  const button = figure.querySelector('.save');
  button.hidden = false;
  button.addEventListener('click', () => save(name + '.csv', 'text/csv', csv));

  // Tiles, whose order is that of the rows of the data.
  const tiles = [...figure.querySelectorAll('.picture .tiles rect')];
  const reading = figure.querySelector('.reading');
  if (!tiles.length || !reading) continue;
  const tell = at => {
    const header = data()[0], row = data()[at + 1];
    if (!row) return null;
    const levels = Object.fromEntries(header.map((key, i) => [key, row[i]]));
    const text = header.map((key, i) => row[i] === '' ? '' : key + ' ' + brief(key, row[i])).filter(Boolean).join(', ');
    const link = make('a', { href: '#' + details.id, textContent: 'row ' + (at + 1) + ' of the data' });
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
    return { text, levels, link };
  };
  reader(figure.querySelector('.picture'), reading, figure.querySelector('.cells'), tell)(tiles);
}

{
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const theme = document.getElementById('theme');
  theme.hidden = false;
  theme.addEventListener('click', () => { root.dataset.theme = dark() ? 'light' : 'dark'; });
}
