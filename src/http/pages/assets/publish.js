// The publish page: choose a source, send it by WHIP, show what is really sent.

import { announce, askRooms, byId, copyButton, el, pathOf, place, problemNote, setText, token } from './common.js';
import { findingList } from './doctor.js';
import { devices, encodings, onlyCodec, open, sendableCodecs } from './capture.js';
import { withOpusParameters } from './sdp.js';
import { bitrateText, codecLabel, fpsText, msText, shareText, sizeText, StatsReader } from './stats.js';
import { Keeper, Problem } from './whip-whep.js';

const { room, participant } = place();
if (!room) location.replace('/');
const ENDPOINT = pathOf('whip', room, participant);
const form = byId('settings');
const preview = byId('preview');
/** Two ends by the server within this time: somebody else wants the same name; stop fighting. */
const TAKEOVER_MS = 60000;

let keeper = null;
let source = null;
let reader = null;
let statsTimer = 0;
let doctorTimer = 0;
let liveSince = 0;
let closedAt = 0;

/**
 * For tests and the console. `state` is one of idle, starting, connecting, live, recovering, retrying, refused, ended, failed.
 * `findings` is what the server's doctor said last. `sending` is camera, screen or pattern; `stats` is what `StatsReader.read` gave last; `counter` is the newest frame of the test pattern.
 */
const weir = {
  page: 'publish', room, participant, state: 'idle', problem: null, stats: null, findings: null, sending: null, start, stop,
  get pc() { return keeper?.session?.pc ?? null; },
  get session() { return keeper?.session ?? null; },
  get counter() { return source?.pattern?.counter ?? null; },
};
window.weir = weir;

// ---- settings --------------------------------------------------------------------------------------------------------

function settings() {
  const data = new FormData(form);
  const [width, height] = data.get('size').split('x').map(Number);
  return {
    source: data.get('source'),
    camera: data.get('camera'),
    microphone: data.get('microphone'),
    width,
    height,
    fps: Number(data.get('fps')),
    codec: data.get('codec'),
    bitrate: Number(data.get('bitrate')) * 1000,
    simulcast: data.has('simulcast'),
    sound: data.has('sound'),
    stereo: data.has('stereo'),
    label: participant ? `${room} / ${participant}` : room,
  };
}

/** Settings may come in the address (`?source=pattern&codec=VP9&size=640x360&start=1`), else from the last visit. */
function restore() {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem('weir.publish') ?? '{}'); } catch { kept = {}; }
  const given = Object.fromEntries(new URLSearchParams(location.search));
  for (const [name, value] of Object.entries({ ...kept, ...given })) {
    const control = form.elements[name];
    if (!control) continue;
    if (control.type === 'checkbox') {
      control.checked = !['0', 'false', 'off', ''].includes(String(value));
    } else if (control instanceof HTMLSelectElement) {
      let option = [...control.options].find((one) => one.value.toLowerCase() === String(value).toLowerCase());
      const pattern = { size: /^[1-9]\d{1,3}x[1-9]\d{1,3}$/, fps: /^[1-9]\d?$/, bitrate: /^[1-9]\d{1,4}$/ }[name];
      if (!option && pattern?.test(value)) {
        option = new Option({ size: value.replace('x', '×'), fps: `${value} fps`, bitrate: bitrateText(value * 1000) }[name], value);
        control.append(option);
      }
      if (option) control.value = option.value;
    } else if ([...(control.length ? control : [])].some((radio) => radio.value === value)) {
      control.value = value;
    }
  }
}

function remember() {
  const { elements } = form;
  const kept = Object.fromEntries(['source', 'size', 'fps', 'codec', 'bitrate'].map((name) => [name, elements[name].value]));
  for (const name of ['simulcast', 'sound', 'stereo']) kept[name] = elements[name].checked ? '1' : '0';
  try { localStorage.setItem('weir.publish', JSON.stringify(kept)); } catch { /* private mode */ }
}

function showSettings() {
  const chosen = form.elements.source.value;
  for (const part of form.querySelectorAll('[data-for]')) part.hidden = !part.dataset.for.split(' ').includes(chosen);
  byId('settings-note').hidden = !keeper;
}

async function listDevices() {
  const { cameras, microphones } = await devices();
  for (const [select, list, name] of [[byId('camera'), cameras, 'Camera'], [byId('microphone'), microphones, 'Microphone']]) {
    const chosen = select.value;
    select.replaceChildren(new Option('Default', ''), ...list.map((device, at) => new Option(device.label || `${name} ${at + 1}`, device.deviceId)));
    select.value = list.some((device) => device.deviceId === chosen) ? chosen : '';
  }
}

// ---- start and stop --------------------------------------------------------------------------------------------------

async function start() {
  if (keeper || weir.state === 'starting') await stop();
  const chosen = settings();
  remember();
  closedAt = 0;
  show('starting');
  try {
    source = await open(chosen);
  } catch (problem) {
    show('failed', problem);
    return;
  }
  if (weir.state !== 'starting') { release(); return; }
  listDevices();
  weir.sending = chosen.source;
  useSource(chosen);

  keeper = new Keeper(ENDPOINT, {
    token,
    prepare: (pc) => source && addTracks(pc, source.stream, chosen),
    mungeOffer: (sdp) => (chosen.stereo ? withOpusParameters(sdp, { stereo: 1, 'sprop-stereo': 1 }) : sdp),
    answered: (pc) => limit(pc, chosen),
    again,
  });
  keeper.addEventListener('state', onKeeper);
  keeper.addEventListener('session', () => { reader = new StatsReader(keeper.session.pc); });
  keeper.start();
  showSettings();
  showMutes();
  statsTimer = setInterval(readStats, 1000);
  doctorTimer = setInterval(askDoctor, 3000);
}

function useSource(chosen) {
  preview.srcObject = source.stream;
  preview.classList.toggle('mirror', chosen.source === 'camera');
  for (const track of source.stream.getVideoTracks()) {
    track.addEventListener('ended', async () => {
      await stop();
      show('failed', new Problem({
        title: chosen.source === 'screen' ? 'Screen sharing was stopped' : 'The camera is gone',
        detail: 'Press Start to send again.',
      }));
    });
  }
}

/** Another camera or microphone while live: the session stays, its tracks change. */
async function switchDevice() {
  const chosen = settings();
  if (!keeper || weir.sending !== 'camera' || chosen.source !== 'camera') return;
  const before = source;
  let next;
  try {
    next = await open(chosen);
  } catch (problem) {
    byId('problem').replaceChildren(problemNote(problem));
    return;
  }
  if (source !== before) { // stopped meanwhile
    for (const track of next.stream.getTracks()) track.stop();
    return;
  }
  for (const track of next.stream.getTracks()) {
    const old = before.stream.getTracks().find((one) => one.kind === track.kind);
    if (old) track.enabled = old.enabled;
    await weir.pc?.getSenders().find((sender) => sender.track?.kind === track.kind)?.replaceTrack(track);
  }
  for (const track of before.stream.getTracks()) track.stop();
  source = next;
  useSource(chosen);
  showMutes();
}

async function stop(options) {
  const old = keeper;
  keeper = null;
  release();
  show('idle');
  await old?.stop(options);
}

function release() {
  clearInterval(statsTimer);
  clearInterval(doctorTimer);
  showDoctor(null);
  for (const track of source?.stream.getTracks() ?? []) track.stop();
  source?.pattern?.stop();
  source = null;
  weir.sending = null;
  reader = null;
  preview.srcObject = null;
  showSettings();
  showMutes();
  showStats(null);
}

function addTracks(pc, stream, chosen) {
  for (const track of stream.getAudioTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
  for (const track of stream.getVideoTracks()) {
    const { height = chosen.height } = track.getSettings();
    const options = { direction: 'sendonly', streams: [stream] };
    let transceiver;
    try {
      transceiver = pc.addTransceiver(track, { ...options, sendEncodings: encodings({ ...chosen, height }) });
    } catch {
      transceiver = pc.addTransceiver(track, options);
    }
    const codecs = onlyCodec(chosen.codec);
    if (codecs) transceiver.setCodecPreferences?.(codecs);
  }
}

/** After the answer: bitrates, and full size where the server took one layer only. */
async function limit(pc, chosen) {
  for (const sender of pc.getSenders()) {
    if (!sender.track) continue;
    const parameters = sender.getParameters();
    if (!parameters.encodings?.length) continue;
    if (sender.track.kind === 'audio') {
      parameters.encodings[0].maxBitrate = chosen.stereo ? 128000 : 48000;
    } else if (parameters.encodings.length === 1) {
      parameters.encodings[0].maxBitrate = chosen.bitrate;
      parameters.encodings[0].scaleResolutionDownBy = 1;
    }
    await sender.setParameters(parameters).catch((error) => console.warn('weir: parameters refused', error.message));
  }
}

/** May we publish again after a session ended? Not when another publisher took this name over. */
async function again(reason) {
  if (reason !== 'closed') return true;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const twice = closedAt > 0 && Date.now() - closedAt < TAKEOVER_MS;
  closedAt = Date.now();
  if (twice) return false;
  // Without a name in the address the server takes the token's, or `publisher`.
  const identity = participant || (token() ? '' : 'publisher');
  if (!identity) return true;
  try {
    const rooms = await askRooms(room);
    const here = rooms.find((one) => one.name === room)?.participants ?? [];
    return !here.some((one) => one.identity === identity);
  } catch {
    return true;
  }
}

// ---- what the user sees ----------------------------------------------------------------------------------------------

function onKeeper() {
  if (!keeper) return;
  const { state, problem } = keeper;
  if (state === 'connected') {
    if (!liveSince) liveSince = Date.now();
    show('live');
  } else if (state === 'ended') {
    stop();
    show('ended', new Problem({
      title: 'The server ended this session',
      detail: 'Another publisher may have taken over this name. Press Start to publish here again.',
    }));
  } else if (state === 'refused') {
    stop(); // camera and screen are not kept open while a token is looked for
    show('refused', problem);
  } else if (state !== 'stopped' && !(state === 'connecting' && weir.state === 'retrying')) {
    show(state, problem); // another try keeps the words about the last one
  }
}

const WORDS = {
  idle: 'Not live',
  starting: 'Opening the source…',
  connecting: 'Connecting…',
  live: 'Live',
  recovering: 'Connection lost, recovering…',
  retrying: 'Trying again…',
  refused: 'Token needed',
  ended: 'Ended',
  failed: 'Not live',
};

function show(state, problem = null) {
  weir.state = state;
  weir.problem = problem;
  const running = keeper !== null || state === 'starting';
  if (!running) liveSince = 0;
  const pill = byId('state');
  setText(pill, WORDS[state]);
  pill.className = `pill ${{ live: 'live', recovering: 'warn', retrying: 'warn', refused: 'bad', failed: 'bad', ended: 'bad' }[state] ?? ''}`;
  byId('start').hidden = running;
  byId('stop').hidden = !running;
  byId('blank').hidden = running;
  byId('problem').replaceChildren(...(problem ? [problemNote(problem, { onToken: start })] : []));
}

function showMutes() {
  for (const [id, kind, words] of [['mute-audio', 'audio', ['Mute sound', 'Unmute sound']], ['mute-video', 'video', ['Hide picture', 'Show picture']]]) {
    const track = source?.stream.getTracks().find((one) => one.kind === kind);
    const button = byId(id);
    button.disabled = !track;
    button.setAttribute('aria-pressed', String(Boolean(track && !track.enabled)));
    setText(button, words[track && !track.enabled ? 1 : 0]);
    button.onclick = () => {
      if (!track) return;
      track.enabled = !track.enabled;
      announce(words[track.enabled ? 0 : 1]);
      showMutes();
    };
  }
}

/** What the server's doctor says; nothing where the token may not see the room. */
async function askDoctor() {
  if (weir.state !== 'live') { showDoctor(null); return; }
  try {
    const rooms = await askRooms(room);
    const here = rooms.find((one) => one.name === room)?.participants ?? [];
    const mine = participant ? here.find((one) => one.identity === participant) : here.find((one) => weir.session?.url?.includes(`/session/${one.session}`));
    weir.findings = mine?.findings ?? null;
    showDoctor(weir.findings);
  } catch {
    showDoctor(null);
  }
}

function showDoctor(findings) {
  const box = byId('doctor');
  box.hidden = !findings;
  const text = JSON.stringify(findings);
  if (!findings || box.dataset.shown === text) return;
  box.dataset.shown = text;
  const focused = document.activeElement?.dataset?.name;
  byId('doctor-list').replaceChildren(findings.length > 0
    ? findingList(findings, 'me', ['browser'])
    : el('p', { class: 'hint' }, 'The server finds nothing wrong with what you send.'));
  if (focused) [...box.querySelectorAll('summary')].find((one) => one.dataset.name === focused)?.focus();
}

async function readStats() {
  if (!reader) return;
  try {
    const stats = await reader.read();
    if (!reader) return;
    weir.stats = stats;
    showStats(stats);
  } catch { /* the connection went away in between */ }
}

const REASONS = { none: 'nothing', cpu: 'this computer', bandwidth: 'network', other: 'encoder' };

function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (value) => String(value).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function showStats(stats) {
  const rows = stats?.outbound ?? [];
  const total = rows.reduce((sum, row) => sum + (row.bitrate ?? 0), 0);
  const loss = rows.map((row) => row.loss).filter(Number.isFinite);
  const facts = stats ? [
    ['Live for', liveSince ? clock(Date.now() - liveSince) : '–'],
    ['Sending', bitrateText(total)],
    ['Round trip', msText(stats.rtt)],
    ['Loss', loss.length > 0 ? shareText(Math.max(...loss)) : '–'],
    ['Sent again', bitrateText(rows.reduce((sum, row) => sum + (row.repeated ?? 0), 0))],
    ['Network allows', bitrateText(stats.available)],
  ] : [];
  byId('facts').replaceChildren(...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
  setText(byId('path'), stats?.path ?? '');
  byId('tracks').replaceChildren(...(rows.length > 0 ? rows.map(trackRow) : [el('tr', { class: 'empty' }, el('td', { colspan: 7 }, 'Nothing yet'))]));
}

function trackRow(row) {
  const video = row.kind === 'video';
  const cell = (name, value) => el('td', { 'data-name': name }, value);
  return el('tr', { class: row.active ? '' : 'off' },
    el('th', { scope: 'row' }, video ? `Video${row.rid ? ` ${row.rid}` : ''}` : 'Sound'),
    cell('Codec', codecLabel(row.codec)),
    cell('Size', video ? sizeText(row) : ''),
    cell('Rate', video ? fpsText(row.fps) : ''),
    cell('Bitrate', row.active ? bitrateText(row.bitrate) : 'paused'),
    cell('Loss', shareText(row.loss)),
    cell('Limited by', video ? REASONS[row.limitation] ?? '–' : ''));
}

// ---- set up ----------------------------------------------------------------------------------------------------------

document.title = `Publish ${room} · Weir`;
setText(byId('where'), participant ? `${room} / ${participant}` : room);
byId('to-watch').href = pathOf('watch', room);
const share = location.origin + pathOf('watch', room);
byId('share').append(el('pre', {}, el('code', { tabindex: '0' }, share)), copyButton(() => share, 'watch link'));
for (const name of sendableCodecs()) byId('codec').append(new Option(codecLabel(name), name));
restore();
showSettings();
showMutes();
listDevices();
navigator.mediaDevices?.addEventListener?.('devicechange', listDevices);
form.addEventListener('change', showSettings);
for (const id of ['camera', 'microphone']) byId(id).addEventListener('change', switchDevice);
form.addEventListener('submit', (event) => event.preventDefault());
byId('start').addEventListener('click', () => start());
byId('stop').addEventListener('click', async () => {
  await stop();
  byId('start').focus();
});
addEventListener('pagehide', () => { stop({ keepalive: true }); });
if (new URLSearchParams(location.search).has('start')) start();
