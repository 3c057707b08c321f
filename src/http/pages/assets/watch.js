// The watch page: one participant, or everybody in a room.

import { announce, byId, el, icon, pathOf, place, pollRooms, setText } from './common.js';
import { Player } from './player.js';

const { room, participant } = place();
if (!room) location.replace('/');
/** A tile whose participant has left the room goes after this time: publishers that come back keep their place. */
const LINGER_MS = 8000;

const parameters = new URLSearchParams(location.search);
const buffer = Math.min(Math.max(Number(parameters.get('buffer')) || 0, 0), 4000);
const grid = byId('grid');
/** Players by participant; the one of the room as a whole has the name ''. */
const players = new Map();
const missingSince = new Map();
let muted = true;

/** For tests and the console: `state`, `problem` and `stats` are those of the first player. */
window.weir = {
  page: 'watch', room, participant,
  get players() { return [...players].map(([name, player]) => Object.assign(player, { name })); },
  get first() { return players.values().next().value ?? null; },
  get state() { return this.first?.state ?? 'idle'; },
  get problem() { return this.first?.problem ?? null; },
  get stats() { return this.first?.stats ?? null; },
  get pc() { return this.first?.pc ?? null; },
  get session() { return this.first?.session ?? null; },
  /** {counter, clock, age} read from the first player's picture. */
  pattern() { return this.first?.pattern() ?? null; },
};

function add(name, label) {
  const player = new Player(pathOf('whep', room, name), {
    label, buffer, details: Boolean(participant || !name) && matchMedia('(min-width: 60rem)').matches,
  });
  player.muted = muted;
  players.set(name, player);
  player.addEventListener('state', layout);
  player.addEventListener('mute', showMute);
  player.addEventListener('viewers', () => showViewers(player.viewers));
  grid.append(player.node);
  player.start();
  layout();
}

function remove(name) {
  const player = players.get(name);
  players.delete(name);
  missingSince.delete(name);
  player.stop();
  player.node.remove();
  layout();
}

function layout() {
  grid.dataset.count = String(Math.min(players.size, 5));
}

/**
 * One publisher, or none: a single session for the whole room, which shows whoever comes without waiting for the list.
 * Two or more: one player each; the room's own player goes once the others show something.
 */
function follow(here) {
  const names = here.map((someone) => someone.identity).filter(Boolean);
  const tiles = [...players.keys()].filter(Boolean);
  if (names.length < 2 && tiles.length === 0) return;
  for (const name of names) {
    missingSince.delete(name);
    if (!players.has(name)) add(name, name);
  }
  for (const name of tiles) {
    if (names.includes(name)) continue;
    if (!missingSince.has(name)) missingSince.set(name, Date.now());
    if (Date.now() - missingSince.get(name) > LINGER_MS && players.size > 1) remove(name);
  }
  const left = [...players.keys()].filter(Boolean);
  if (players.has('') && left.some((name) => players.get(name).state === 'playing')) remove('');
  if (left.length === 1 && names.length === 0 && missingSince.has(left[0]) && Date.now() - missingSince.get(left[0]) > LINGER_MS) {
    add('', '');
    remove(left[0]);
  }
}

function showViewers(count) {
  const node = byId('viewers');
  node.hidden = !Number.isFinite(count);
  if (!node.hidden && node.dataset.count !== String(count)) {
    node.dataset.count = count;
    node.replaceChildren(icon('eye'), String(count), el('span', {}, count === 1 ? ' viewer' : ' viewers'));
  }
}

function showMute() {
  muted = [...players.values()].every((player) => player.muted);
  const button = byId('mute');
  setText(button, muted ? 'Unmute' : 'Mute');
  button.setAttribute('aria-pressed', String(muted));
  button.classList.toggle('primary', muted);
}

byId('mute').addEventListener('click', () => {
  const now = !muted;
  for (const player of players.values()) player.muted = now;
  showMute();
  announce(muted ? 'Sound off' : 'Sound on');
});

document.title = `${participant || room} · Weir`;
byId('where').append(room, ...(participant ? [el('span', { class: 'hint' }, ' / '), participant] : []));
add(participant, participant);
pollRooms(2000, (rooms) => {
  const live = rooms.find((one) => one?.name === room);
  if (live && Number.isFinite(live.viewers)) showViewers(live.viewers);
  if (!participant) follow(live?.participants ?? []);
}, () => {
  // The list is a comfort: without it the room's own session plays on.
}, room);
addEventListener('pagehide', () => {
  for (const player of players.values()) player.stop({ keepalive: true });
});
showMute();
