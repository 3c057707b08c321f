// What the pages share: the token, the room in the address, small pieces of HTML, and the server's API.

import { Problem } from './whip-whep.js';

const TOKEN_KEY = 'weir.token';

/** The access token: from `#token=` or `?token=` (then taken out of the address), else the one used before in this tab. */
export function token() {
  return sessionStorage.getItem(TOKEN_KEY) ?? '';
}

export function setToken(value) {
  const trimmed = value.trim().replace(/^Bearer\s+/i, '');
  if (trimmed) sessionStorage.setItem(TOKEN_KEY, trimmed);
  else sessionStorage.removeItem(TOKEN_KEY);
}

/** A token stays out of the address bar, the history and what people copy from there. */
function takeTokenFromAddress() {
  const url = new URL(location.href);
  const hash = new URLSearchParams(url.hash.slice(1));
  const given = hash.get('token') ?? url.searchParams.get('token');
  if (given === null) return;
  setToken(given);
  hash.delete('token');
  url.searchParams.delete('token');
  url.hash = hash.toString();
  history.replaceState(null, '', url);
}
takeTokenFromAddress();

/** Room and participant of an address like `/watch/{room}/{participant}`. */
export function place() {
  const [, , room = '', participant = ''] = location.pathname.split('/').map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return { room, participant };
}

/** `/whip/room/participant` for `pathOf('whip', 'room', 'participant')`. */
export const pathOf = (...parts) => `/${parts.filter(Boolean).map(encodeURIComponent).join('/')}`;

/** An element: attributes by name, `on…` listeners, `class`, and children (text or nodes; null is skipped). */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets the text only when it changes, so that a live region speaks only then. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  copy: 'M8 8V5a1 1 0 0 1 1-1h9a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-3M5 9h9a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1z',
  done: 'M5 12.5l4.5 4.5L19 7.5',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a7.5 7.5 0 0 1 0 11',
  silent: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5',
  full: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z',
};

/** A line icon; decoration only, the control it stands in carries the name. */
export function icon(name) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Puts text on the clipboard, also where the page is not a secure context. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el('textarea', { class: 'offscreen', readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

/** A button that copies what `text()` gives at the time of the click. */
export function copyButton(text, what) {
  const label = el('span', {}, 'Copy');
  const button = el('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${what}` }, icon('copy'), label);
  button.addEventListener('click', async () => {
    await copy(text());
    label.textContent = 'Copied';
    button.firstChild.replaceWith(icon('done'));
    announce(`${what} copied`);
    setTimeout(() => {
      label.textContent = 'Copy';
      button.firstChild.replaceWith(icon('copy'));
    }, 1600);
  });
  return button;
}

/** Tells users of a screen reader. */
export function announce(text) {
  const region = byId('announce');
  if (region) region.textContent = text;
}

/** GET of an API path as JSON. Throws a `Problem`. */
async function api(path) {
  let response;
  try {
    response = await fetch(path, {
      cache: 'no-store',
      headers: token() ? { Authorization: `Bearer ${token()}` } : {},
      signal: AbortSignal.timeout(8000),
    });
  } catch {
    throw new Problem({ title: 'The server can’t be reached', detail: 'Check the network; trying again.' });
  }
  if (!response.ok) throw await Problem.from(response);
  try {
    return await response.json();
  } catch {
    throw new Problem({ status: response.status, title: 'The server’s answer is not JSON' });
  }
}

/** All rooms, or the one that is asked for; without rows for viewers, of whom there may be thousands. */
export async function askRooms(room = '') {
  const body = await api(`/api/rooms?viewing=false${room ? `&room=${encodeURIComponent(room)}` : ''}`);
  return Array.isArray(body?.rooms) ? body.rooms : [];
}

/**
 * Calls `use(rooms)` or `fail(problem)` every `period` ms while the page is visible, with all rooms or the one of that name.
 * Returns a function that asks at once.
 */
export function pollRooms(period, use, fail, room = '') {
  let timer = 0;
  let busy = false;
  const ask = async () => {
    clearTimeout(timer);
    if (busy) return;
    busy = true;
    let next = period;
    try {
      use(await askRooms(room));
    } catch (problem) {
      // What a token does not allow now it will not allow soon.
      next = Math.max(period, problem.retryAfter ?? 0, { 401: 5000, 403: 60000 }[problem.status] ?? 0);
      fail(problem);
    }
    busy = false;
    if (!document.hidden) timer = setTimeout(ask, next);
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); });
  ask();
  return ask;
}

/** A problem in plain words; with a field for a token where one would help. */
export function problemNote(problem, { onToken = null } = {}) {
  // The server tells programs which header to send; people are told what to paste.
  const [title, detail] = problem.status === 401 && !token()
    ? ['A token is needed', 'Paste the token or stream key that you were given.']
    : [problem.title, problem.detail];
  const note = el('div', { class: 'note bad' }, el('strong', {}, title), detail ? el('p', {}, detail) : null);
  if (problem.needsToken && onToken) note.append(tokenForm(onToken));
  return note;
}

/** Asks for a token and remembers it for this tab. */
export function tokenForm(onToken) {
  const input = el('input', {
    type: 'password', name: 'token', autocomplete: 'off', spellcheck: 'false', placeholder: 'Paste a token', 'aria-label': 'Access token', required: true,
  });
  return el('form', {
    class: 'inline',
    onsubmit: (event) => {
      event.preventDefault();
      setToken(input.value);
      onToken();
    },
  }, input, el('button', { type: 'submit', class: 'primary' }, 'Use token'));
}

/** The resolution people know: 720p. */
export const linesText = (height) => (height ? `${height}p` : '');
