// A heatmap of the metric, the two axes and the levels of all others that the reader chooses.
{
  const values = embedded('values');
  const figure = document.getElementById('explorer');
  // Levels that are drawn at a time; of a longer axis a part is chosen.
  const MOST = 48;
  const [WIDTH, RIGHT, TOP, LETTER] = [720, 112, 22, 6.2];
  // Letters of a value that are room enough in all tiles or in none.
  const VALUE = 5.5;
  const BASE_64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  // Of a value in its tile and beside the colours, where there is little room.
  const FEW = 3;

  const explore = () => {
    const { axes, metrics } = values;
    const longest = axes.map((_, at) => at).sort((a, b) => axes[b].levels.length - axes[a].levels.length || a - b);
    // The number of the level that each axis is held at, or that a part of it begins with.
    const held = axes.map(() => 0);
    let [metric, x, y] = [0, longest[0], longest[1]];
    const strides = axes.map((_, at) => axes.slice(at + 1).reduce((all, axis) => all * axis.levels.length, 1));
    // Levels with all digits, as data have them, and as they are shown.
    const names = axes.map(({ levels, labels }) => new Map(levels.map((level, i) => [level, labels[i]])));
    const short = (axis, level) => names[axis].get(level) ?? level;
    const named = metric => metric.name + (metric.condition === 'clean' ? '' : ' under ' + metric.condition);

    // Numbers, or codes of them: none, zero, and integers of four digits by power of ten and sign.
    const value = place => {
      const { values } = metrics[metric];
      if (Array.isArray(values)) return values[place];
      const { width, power, codes } = values;
      let code = 0;
      for (const digit of codes.slice(width * place, width * (place + 1))) code = code * 64 + BASE_64.indexOf(digit);
      if (code < 2) return code === 0 ? null : 0;
      const [group, integer] = [Math.floor((code - 2) / 9000), (code - 2) % 9000 + 1000];
      return Number((group % 2 ? '-' : '') + integer + 'e' + (power + Math.floor(group / 2)));
    };
    const rgb = share => {
      const stops = values[metrics[metric].diverging ? 'diverging' : 'sequential'];
      const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
      const channel = (stop, i) => parseInt(stop.slice(1 + 2 * i, 3 + 2 * i), 16);
      return [0, 1, 2].map(i => Math.round(channel(stops[low], i) * (1 - at + low) + channel(stops[low + 1], i) * (at - low)));
    };
    const share = value => {
      const { low, high } = metrics[metric];
      return high > low ? (value - low) / (high - low) : 0.5;
    };
    // Black or white by relative luminance, as in WCAG 2.
    const ink = colour => {
      const [r, g, b] = colour.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
    };

    const picture = figure.querySelector('.picture');
    const choices = figure.querySelector('.choices');
    let [drawn, crossed] = [[], false];
    const use = reader(picture, figure.querySelector('.reading'), figure.querySelector('.cells'), at => {
      const { levels, value } = drawn[at];
      const unit = metrics[metric].unit;
      const text = axes.map((axis, at) => axis.path + ' ' + short(at, levels[axis.path])).join(', ');
      const told = value === null ? 'no value' : `${shown(value)}${unit && unit !== '1' ? ' ' + unit : ''}`;
      return { text: `${text}: ${named(metrics[metric])} ${told}`, levels };
    });

    const element = (name, attributes, text) => {
      const made = document.createElementNS('http://www.w3.org/2000/svg', name);
      for (const key in attributes) made.setAttribute(key, attributes[key]);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const part = axis => {
      const levels = axes[axis].levels, from = levels.length > MOST ? Math.min(held[axis], levels.length - MOST) : 0;
      return levels.slice(from, from + MOST).map((level, i) => [level, from + i]);
    };

    const draw = () => {
      const across = part(x), up = part(y);
      const left = Math.min(Math.max(Math.max(...up.map(([level]) => short(y, level).length)) * LETTER + 14, 40), 160);
      const [w, h] = [(WIDTH - left - RIGHT) / across.length, Math.min(Math.max(up.length * 34, 130), 460) / up.length];
      const bottom = TOP + h * up.length;
      // Of values that are close to each other labels are long.
      const { low, high } = metrics[metric];
      const marks = (high > low ? [0, 0.25, 0.5, 0.75, 1] : [0]).map(part => low + part * (high - low));
      const digits = apart(marks, FEW);
      const more = Math.max(Math.max(...marks.map(mark => shown(mark, digits).length)) * LETTER - (RIGHT - 68), 0);
      const svg = element('svg', { viewBox: `0 0 ${WIDTH + more} ${bottom + 42}`, role: 'img', 'aria-labelledby': 'explorer-title', 'aria-describedby': 'explorer-about' });
      const text = (at, anchor, name, words, more) => svg.append(element('text', { x: at[0], y: at[1], 'text-anchor': anchor, class: name, ...more }, words));
      const tiles = element('g', { class: 'tiles', 'shape-rendering': 'crispEdges' });
      svg.append(tiles);
      drawn = [];
      const base = axes.reduce((place, _, at) => place + (at === x || at === y ? 0 : held[at] * strides[at]), 0);
      up.forEach(([levelUp, v], row) => across.forEach(([levelAcross, u], column) => {
        const found = value(base + u * strides[x] + v * strides[y]);
        const colour = found === null ? null : rgb(share(found));
        const [px, py] = [left + column * w, bottom - (row + 1) * h];
        tiles.append(element('rect', { x: px, y: py, width: w, height: h, fill: colour ? `rgb(${colour})` : 'var(--grid)' }));
        const words = found === null ? 'none' : shown(found, FEW);
        if (w > VALUE * LETTER && h >= 14)
          text([px + w / 2, py + h / 2 + 4], 'middle', 'small', words, { style: `fill:${colour ? ink(colour) : 'var(--ink)'}`, 'pointer-events': 'none' });
        const levels = Object.fromEntries(axes.map((axis, at) => [axis.path, at === x ? levelAcross : at === y ? levelUp : axis.levels[held[at]]]));
        drawn.push({ levels, value: found, row, column });
      }));
      lines(svg, left, bottom, w, h, across.length);
      let free = -Infinity;
      across.forEach(([level], i) => {
        const [at, half] = [left + (i + 0.5) * w, short(x, level).length * LETTER / 2];
        if (at - half > free) { text([at, bottom + 15], 'middle', 'small', short(x, level)); free = at + half + 6; }
      });
      free = Infinity;
      up.forEach(([level], i) => {
        const at = bottom - (i + 0.5) * h;
        if (at + 6 < free) { text([left - 7, at + 4], 'end', 'small', short(y, level)); free = at - 7; }
      });
      text([(left + WIDTH - RIGHT) / 2, bottom + 34], 'middle', '', axes[x].path + ' \u2192');
      text([4, 13], 'start', '', '\u2191 ' + axes[y].path);
      bar(svg, text, bottom, marks, digits);
      picture.replaceChildren(svg);
      use([...tiles.children]);
      about();
    };

    // Whether a value keeps a bound of a gate, which one that is equal to it does.
    const keeps = (value, { bound, greatest }) => greatest ? value <= bound : value >= bound;

    // Between neighbours of which the mean of one keeps a bound of a gate.
    const lines = (svg, left, bottom, w, h, columns) => {
      const path = metrics[metric].lines.flatMap(line => drawn.flatMap(({ value, row, column }, i) => {
        if (value === null) return [];
        const parted = other => other && other.value !== null && keeps(value, line) !== keeps(other.value, line);
        const [px, py] = [left + (column + 1) * w, bottom - (row + 1) * h];
        const right = column + 1 < columns && parted(drawn[i + 1]), above = parted(drawn[i + columns]);
        return [...right ? [`M${px} ${py}v${h}`] : [], ...above ? [`M${px - w} ${py}h${w}`] : []];
      })).join('');
      crossed = path !== '';
      for (const [stroke, width] of [['#000', 4.5], ['#fff', 2]])
        svg.append(element('path', { d: path, fill: 'none', stroke, 'stroke-width': width, 'stroke-linecap': 'square', 'pointer-events': 'none' }));
    };

    const bar = (svg, text, bottom, marks, digits) => {
      const { low, high, bounds, unit } = metrics[metric];
      const [at, steps, height] = [WIDTH - RIGHT + 44, 32, Math.min(bottom - TOP, 240)];
      const place = value => TOP + height * (1 - share(value));
      for (let i = 0; i < steps; i++)
        svg.append(element('rect', { x: at, y: TOP + height * (1 - (i + 1) / steps), width: 14, height: height / steps + 0.4, fill: `rgb(${rgb((i + 0.5) / steps)})` }));
      for (const mark of marks) text([at + 20, place(mark) + 4], 'start', 'small', shown(mark, digits));
      for (const bound of new Set(bounds.flatMap(([, min, max]) => [min, max])))
        if (bound !== null && low < bound && bound < high) {
          for (const [stroke, width] of [['#000', 4.5], ['#fff', 2]])
            svg.append(element('path', { d: `M${at - 3} ${place(bound)}h18`, stroke, 'stroke-width': width }));
          text([at - 6, place(bound) + 4], 'end', 'small', exact(bound));
        }
      if (unit !== '1') text([WIDTH - 4, TOP + height + 18], 'end', 'soft small', unit);
    };

    const about = () => {
      const { about } = metrics[metric];
      const unit = ['1', 'share'].includes(metrics[metric].unit) ? '' : `, in ${metrics[metric].unit}`;
      const known = drawn.filter(tile => tile.value !== null).sort((a, b) => a.value - b.value);
      const where = tile => [x, y].map(at => `${axes[at].path} ${short(at, tile.levels[axes[at].path])}`).join(', ');
      const fixed = axes.flatMap((axis, at) => at === x || at === y ? [] : [`${axis.path} ${axis.labels[held[at]]}`]);
      const digits = apart(known.length ? [known[0].value, known.at(-1).value] : []);
      const ends = known.length ? ` Here it is greatest, ${shown(known.at(-1).value, digits)}, at ${where(known.at(-1))}, and least, ${shown(known[0].value, digits)}, at ${where(known[0])}.` : ' It has no value here.';
      const of = lines => [...new Set(lines.map(({ gate }) => gate))].join(', ');
      const { lines, unlined, precision } = metrics[metric];
      const line = crossed ? ` The line is where it passes a bound of ${of(lines)}.` : '';
      const none = unlined.length ? ` There is no line of ${of(unlined)}: rounded as they are here, some values lie on the other side of its bound.` : '';
      figure.querySelector('#explorer-about').textContent =
        `${named(metrics[metric])}: ${about}${unit}${fixed.length ? '; at ' + fixed.join(', ') : ''}. Its values here have ${precision}.${ends}${line}${none}`;
    };

    // Controls: what to draw, and sliders for the levels of the other axes.
    const select = (label, names, chosen, change) => {
      const choice = make('select', {}, ...names.map((name, i) => make('option', { textContent: name, value: i, selected: i === chosen })));
      choice.addEventListener('change', () => change(Number(choice.value)));
      return make('label', {}, label + ' ', choice);
    };
    const slider = (axis, label, last) => {
      const output = make('output', {});
      const input = make('input', { type: 'range', min: 0, max: last, step: 1, value: held[axis] });
      const say = () => {
        output.textContent = axes[axis].labels[held[axis]];
        input.setAttribute('aria-valuetext', output.textContent);
      };
      input.addEventListener('input', () => { held[axis] = Number(input.value); say(); draw(); });
      say();
      return make('label', {}, label + ' ', input, ' ', output);
    };
    const paths = axes.map(axis => axis.path);
    const controls = () => {
      const other = (chosen, before, taken) => chosen === taken ? before : taken;
      const parts = [x, y].filter(axis => axes[axis].levels.length > MOST);
      const rest = axes.map((_, at) => at).filter(at => at !== x && at !== y);
      choices.replaceChildren(
        select('Metric', metrics.map(named), metric, to => { metric = to; draw(); }),
        select('Across', paths, x, to => { [x, y] = [to, other(to, x, y)]; again(1); }),
        select('Up', paths, y, to => { [y, x] = [to, other(to, y, x)]; again(2); }),
        ...rest.map(axis => slider(axis, axes[axis].path, axes[axis].levels.length - 1)),
        ...parts.map(axis => slider(axis, `${MOST} levels of ${axes[axis].path} from`, axes[axis].levels.length - MOST)));
    };
    const again = focus => {
      held.fill(0);
      controls();
      choices.querySelectorAll('select')[focus].focus();
      draw();
    };
    figure.querySelector('.save').addEventListener('click', () => {
      const quoted = text => /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
      const rows = drawn.map(tile => [...paths.map(path => tile.levels[path]), tile.value === null ? '' : exact(tile.value)]);
      const lines = [[...paths, named(metrics[metric])], ...rows].map(row => row.map(quoted).join(',') + '\n');
      save('explorer-' + metrics[metric].name + '.csv', 'text/csv', lines.join(''));
    });
    figure.hidden = false;
    controls();
    draw();
  };
  if (values && figure) explore();
}
