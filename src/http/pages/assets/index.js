// The start page: live rooms, and how to publish.

import { announce, byId, copyButton, el, icon, linesText, pathOf, pollRooms, problemNote, setText, setToken, token } from './common.js';
import { findingList, keptDetails } from './doctor.js';
import { bitrateText, codecLabel } from './stats.js';

const weir = { page: 'index', state: 'loading', rooms: [], problem: null };
window.weir = weir;

const roomField = byId('room');
const nameField = byId('participant');
const tokenField = byId('token');
const room = () => roomField.value.trim() || roomField.placeholder;
const participant = () => nameField.value.trim();

// ---- links and lines -------------------------------------------------------------------------------------------------

/** A word for a POSIX shell. */
const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const FFMPEG_ENCODE = `-c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency -pix_fmt yuv420p \\
  -b:v 2500k -g 60 -bf 0 -c:a libopus -b:a 128k -ar 48000 -ac 2`;

const LINES = {
  url: ({ whip }) => whip,
  token: ({ bearer }) => bearer || 'leave empty, or the token you were given',
  publish: () => location.origin + pathOf('publish', room(), participant()),
  watch: () => location.origin + pathOf('watch', room()),
  whep: () => location.origin + pathOf('whep', room()),
  ffmpeg: ({ whip, bearer }) => `ffmpeg -re -readrate_catchup 1 -i in.mp4 \\
  ${FFMPEG_ENCODE} \\
  -f whip ${bearer ? `-authorization ${quote(bearer)} ` : ''}${quote(whip)}`,
  'ffmpeg-test': ({ whip, bearer }) => `ffmpeg -re -readrate_catchup 1 -f lavfi -i testsrc2=size=1280x720:rate=30 \\
  -re -readrate_catchup 1 -f lavfi -i sine=frequency=440:sample_rate=48000 \\
  ${FFMPEG_ENCODE} \\
  -f whip ${bearer ? `-authorization ${quote(bearer)} ` : ''}${quote(whip)}`,
  gst: ({ whip, bearer }) => `gst-launch-1.0 whipclientsink name=whip \\
  signaller::whip-endpoint=${quote(whip)} \\${bearer ? `
  signaller::auth-token=${quote(bearer)} \\` : ''}
  videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! videoconvert ! whip. \\
  audiotestsrc is-live=true ! audioconvert ! whip.`,
  'gst-whipsink': ({ whip, bearer }) => `gst-launch-1.0 whipsink name=whip \\
  whip-endpoint=${quote(whip)} \\${bearer ? `
  auth-token=${quote(bearer)} \\` : ''}
  videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! videoconvert ! \\
  x264enc tune=zerolatency bitrate=2500 key-int-max=60 ! video/x-h264,profile=constrained-baseline ! \\
  rtph264pay config-interval=-1 aggregate-mode=zero-latency ! \\
  application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000 ! whip.sink_0 \\
  audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay ! \\
  'application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2' ! \\
  whip.sink_1`,
};
/** Shown on the page; what is copied has the real token. */
const hidden = (text, bearer) => (bearer ? text.replaceAll(bearer, `${bearer.slice(0, 6)}…`) : text);

function given(bearer) {
  return { whip: location.origin + pathOf('whip', room(), participant()), bearer };
}

for (const box of document.querySelectorAll('[data-line]')) {
  const line = LINES[box.dataset.line];
  const code = el('code', { tabindex: '0' });
  box.append(el('pre', {}, code));
  if (box.dataset.line === 'token') {
    const button = copyButton(() => token(), box.dataset.what);
    box.append(button);
    box.refresh = () => {
      button.hidden = !token();
      code.classList.toggle('empty', !token());
    };
  } else {
    box.append(copyButton(() => line(given(token())), box.dataset.what));
  }
  box.line = () => setText(code, hidden(line(given(token())), token()));
}

function refresh() {
  byId('watch').href = pathOf('watch', room());
  setText(byId('how-room'), room());
  for (const box of document.querySelectorAll('[data-line]')) {
    box.line();
    box.refresh?.();
  }
}

byId('go').addEventListener('submit', (event) => {
  event.preventDefault();
  location.href = pathOf('publish', room(), participant());
});
roomField.addEventListener('input', refresh);
nameField.addEventListener('input', refresh);
tokenField.value = token();
tokenField.addEventListener('input', () => { setToken(tokenField.value); refresh(); });
tokenField.addEventListener('change', () => poll());
const wanted = new URLSearchParams(location.search).get('room');
if (wanted) roomField.value = wanted;

// ---- tabs (WAI-ARIA tabs pattern) ------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll('[role=tab]')];
function choose(tab, focus) {
  for (const other of tabs) {
    const on = other === tab;
    other.setAttribute('aria-selected', String(on));
    other.tabIndex = on ? 0 : -1;
    byId(other.getAttribute('aria-controls')).hidden = !on;
  }
  if (focus) tab.focus();
}
for (const tab of tabs) tab.addEventListener('click', () => choose(tab, false));
byId('tablist').addEventListener('keydown', (event) => {
  const at = tabs.indexOf(document.activeElement);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  choose(tabs.at(next % tabs.length), true);
});

// ---- live rooms ------------------------------------------------------------------------------------------------------

/** What a room sends, from all its tracks: codecs, tallest picture, bitrate. */
function summary(live) {
  const codecs = new Set();
  let height = 0;
  let bitrate = 0;
  for (const someone of live.participants ?? []) {
    for (const track of someone.tracks ?? []) {
      if (track.codec) codecs.add(codecLabel(String(track.codec)));
      for (const encoding of track.encodings ?? []) {
        height = Math.max(height, encoding.height ?? 0);
        if (encoding.active !== false) bitrate += encoding.bitrate ?? 0;
      }
    }
  }
  return { codecs: [...codecs], height, bitrate };
}

/** What is wrong with a room's publishers; null when all do well. */
function problems(live) {
  const sick = (live.participants ?? []).filter((someone) => someone.findings?.length > 0);
  if (sick.length === 0) return null;
  const count = sick.reduce((sum, someone) => sum + someone.findings.length, 0);
  const worst = sick.some((someone) => someone.findings.some((finding) => finding.severity === 'error')) ? 'bad' : 'warn';
  return keptDetails(live.name,
    el('span', { class: `pill ${worst}` }, `${count} ${count === 1 ? 'problem' : 'problems'} at the source`),
    sick.map((someone) => [
      sick.length > 1 ? el('p', { class: 'hint' }, someone.identity) : null,
      findingList(someone.findings, `${live.name}/${someone.identity}`),
    ]).flat());
}

function roomCard(live) {
  const people = live.participants ?? [];
  const { codecs, height, bitrate } = summary(live);
  const viewers = live.viewers ?? 0;
  const isLive = people.some((someone) => someone.connected !== false);
  const names = people.map((someone) => someone.identity).filter(Boolean);
  return el('li', { class: 'card room' },
    el('div', { class: 'row' },
      el('h3', {}, live.name),
      el('span', { class: isLive ? 'pill live' : 'pill' }, isLive ? 'Live' : 'Waiting')),
    el('p', { class: 'names' }, names.length > 0 ? names.join(', ') : 'Nobody publishes yet'),
    el('p', { class: 'chips' },
      [...codecs, linesText(height), bitrate > 0 ? bitrateText(bitrate) : ''].filter(Boolean).map((text) => el('span', { class: 'chip' }, text))),
    problems(live),
    el('div', { class: 'row' },
      el('span', { class: 'hint viewers' }, icon('eye'), `${viewers} ${viewers === 1 ? 'viewer' : 'viewers'}`),
      el('span', { class: 'actions' },
        el('a', { class: 'button small primary', href: pathOf('watch', live.name), 'aria-label': `Watch ${live.name}` }, 'Watch'))));
}

let shown = '';
const poll = pollRooms(2000, (rooms) => {
  Object.assign(weir, { state: 'ok', rooms, problem: null });
  byId('rooms-note').replaceChildren();
  const live = rooms.filter((one) => one?.name).sort((a, b) => (b.viewers ?? 0) - (a.viewers ?? 0) || a.name.localeCompare(b.name));
  setText(byId('rooms-state'), live.length === 0 ? 'None right now' : `${live.length} ${live.length === 1 ? 'room' : 'rooms'}`);
  const now = JSON.stringify(live);
  if (now === shown) return;
  shown = now;
  // A card is replaced only when it changed, and keyboard focus stays on its room.
  const focused = document.activeElement?.closest?.('#rooms > li')?.dataset.room;
  const summary = document.activeElement?.dataset?.name;
  const old = new Map([...byId('rooms').children].map((card) => [card.dataset.shown, card]));
  byId('rooms').replaceChildren(...live.map((one) => {
    const text = JSON.stringify(one);
    const card = old.get(text) ?? roomCard(one);
    card.dataset.shown = text;
    card.dataset.room = one.name;
    return card;
  }));
  if (live.length === 0) byId('rooms').append(el('li', { class: 'empty' }, 'Publish something, and it shows up here.'));
  if (focused !== undefined) {
    const card = byId('rooms').querySelector(`[data-room="${CSS.escape(focused)}"]`);
    const same = summary === undefined ? null : [...card?.querySelectorAll('summary') ?? []].find((one) => one.dataset.name === summary);
    (same ?? card?.querySelector('a'))?.focus();
  }
}, (problem) => {
  Object.assign(weir, { state: problem.needsToken ? 'refused' : 'failed', problem });
  setText(byId('rooms-state'), problem.needsToken ? 'Not shown' : 'Not reachable');
  if (byId('rooms-note').dataset.title === problem.message && byId('rooms-note').firstChild) return;
  byId('rooms-note').dataset.title = problem.message;
  // A token for one room shows no list, and is no mistake.
  const enough = problem.status === 403 && problem.detail.includes('roomList');
  byId('rooms-note').replaceChildren(enough ? el('p', { class: 'hint' }, 'The list needs a token with roomList; publishing and watching don’t.') : problemNote(problem, {
    onToken: () => {
      tokenField.value = token();
      refresh();
      byId('rooms-note').replaceChildren();
      announce('Token set');
      poll();
    },
  }));
  if (problem.needsToken) byId('rooms').replaceChildren();
  shown = '';
});

refresh();
