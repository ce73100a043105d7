// A flame graph of rows as flamegraph() answers them. Every text from outside becomes a text node, never markup.
import { element } from '/ui/trace.js';

const COLUMNS = ['depth', 'frame', 'total', 'path'];
// Narrower than this share of the whole, a frame cannot be pointed at.
const SHARE_MIN = 1 / 2000;
const FRAMES_MAX = 5000;

/** Whether the rows of an answer are frames of a flame graph. */
export function isFlame(columns) {
  return COLUMNS.every((name) => columns.some((column) => column.name === name));
}

/** The frames of rows as a tree for each kind of sample: a frame has what it called as children. */
export function treesOf(columns, rows) {
  const [depth, frame, total, path, type, unit] = [...COLUMNS, 'sample_type', 'unit'].map((name) =>
    columns.findIndex((column) => column.name === name));
  const roots = new Map();
  const byPath = new Map();
  for (const row of [...rows].sort((one, other) => one[depth] - other[depth])) {
    const kind = [row[type], row[unit]].filter(Boolean).join(', ');
    if (!roots.has(kind)) roots.set(kind, { name: kind || 'all', total: 0, depth: -1, children: [] });
    const root = roots.get(kind);
    const key = `${kind}\n${row[path]}`;
    const parent = row[depth] === 0 ? root : byPath.get(key.slice(0, key.lastIndexOf(';')));
    if (!parent) continue; // what called it was cut off by a limit
    const node = { name: row[frame], total: Number(row[total]), depth: row[depth], children: [] };
    parent.children.push(node);
    byPath.set(key, node);
    if (parent === root) root.total += node.total;
  }
  return [...roots.values()].filter((root) => root.total > 0);
}

/** The frames that are drawn where one of them is as wide as the place: from where, how wide, how deep. */
export function layout(chosen) {
  const frames = [];
  const work = [{ node: chosen, left: 0, width: 1 }];
  while (work.length && frames.length < FRAMES_MAX) {
    const { node, left, width } = work.pop();
    if (width < SHARE_MIN) continue;
    frames.push({ node, left, width, row: node.depth - chosen.depth });
    let from = left;
    for (const child of node.children) {
      const share = width * child.total / node.total;
      work.push({ node: child, left: from, width: share });
      from += share;
    }
  }
  return frames;
}

/** Draws a tree into a place; a click on a frame makes it as wide as the place, one on the lowest row goes back. */
export function drawFlame(root, place) {
  const show = (chosen) => {
    const frames = layout(chosen);
    place.replaceChildren(...frames.map(({ node, left, width, row }) => {
      const share = `${(100 * node.total / root.total).toFixed(2)} %`;
      const made = element('button', { type: 'button', title: `${node.name}: ${node.total.toLocaleString()}, ${share}` }, node.name);
      // The same function has the same colour everywhere.
      const hue = [...node.name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 50, 0);
      Object.assign(made.style, { left: `${100 * left}%`, width: `${100 * width}%`, top: `${row * 1.3}rem`, backgroundColor: `hsl(${hue} 85% 70%)` });
      made.addEventListener('click', () => show(node === chosen ? root : node));
      return made;
    }));
    place.style.height = `${(Math.max(...frames.map(({ row }) => row)) + 1) * 1.3}rem`;
  };
  show(root);
}
