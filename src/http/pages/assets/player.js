// One player: a WHEP session that stays alive, its picture, and what arrives.

import { el, icon, linesText, problemNote, setText, token } from './common.js';
import { readPattern } from './pattern.js';
import { QualityMenu } from './quality.js';
import { withOpusParameters } from './sdp.js';
import { bitrateText, codecLabel, fpsText, msText, shareText, sizeText, StatsReader } from './stats.js';
import { Keeper, Problem } from './whip-whep.js';

const EVENTS = 'urn:ietf:params:whep:ext:core:server-sent-events';
/** Events of this server beside the draft's. */
const OWN_EVENTS = 'urn:weir:whep:events';
const WANTED_EVENTS = ['active', 'inactive', 'layers', 'viewercount', 'quality'];
const DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
/** These reasons concern the picture alone: sound that arrives does not end them. */
const PICTURE_REASONS = ['codec', 'bandwidth', 'keyframe'];
/** No packet for this long: the publisher has stopped. */
const SILENT_MS = 2500;

const WORDS = {
  connecting: 'Connecting…',
  waiting: 'Waiting for the publisher',
  playing: 'Live',
  recovering: 'Connection lost, recovering…',
  retrying: 'Trying again…',
  unsupported: 'Not playable here',
  refused: 'Token needed',
  stopped: 'Stopped',
};

/**
 * Has a receiving transceiver offer dependency descriptors, which Chromium leaves out unless asked. They tell a receiver of AV1
 * which frames of several spatial layers make one picture; without them Weir sends it the lowest layer.
 */
function receiveDescriptors(transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.();
  const descriptor = extensions?.find(({ uri }) => uri === DESCRIPTOR);
  if (!descriptor) return;
  descriptor.direction = 'sendrecv';
  transceiver.setHeaderExtensionsToNegotiate(extensions);
}

/**
 * Plays one WHEP endpoint in `node`. States: connecting, waiting (for the publisher), playing, recovering, retrying, unsupported
 * (the browser can't decode what is published), refused (a token is needed), stopped. Events: `state`, `viewers`.
 */
export class Player extends EventTarget {
  #keeper;
  #reader = null;
  #timer = 0;
  #events = null;
  #inactive = null;
  #mediaAt = 0;
  #busyTicks = 0;
  #played = false;
  #parts;
  #buffer;

  constructor(endpoint, { label = '', buffer = 0, details = false } = {}) {
    super();
    this.endpoint = endpoint;
    this.state = 'connecting';
    this.problem = null;
    /** What `StatsReader.read` gave last. */
    this.stats = null;
    /** How many sessions were opened so far. */
    this.sessions = 0;
    this.viewers = null;
    this.#buffer = buffer;
    this.#build(label, details);
    this.#keeper = new Keeper(endpoint, {
      token,
      prepare: (pc) => this.#prepare(pc),
      mungeOffer: (sdp) => withOpusParameters(sdp, { stereo: 1 }),
    });
    this.#keeper.addEventListener('state', () => this.#update());
    this.#keeper.addEventListener('session', () => this.#opened());
  }

  get pc() {
    return this.#keeper.session?.pc ?? null;
  }

  get session() {
    return this.#keeper.session;
  }

  get muted() {
    return this.video.muted;
  }

  set muted(muted) {
    this.video.muted = muted;
    if (!muted) this.video.play().catch(() => { this.video.muted = true; this.#showMute(); });
    this.#showMute();
  }

  /** {counter, clock, age} of the test pattern in the picture, age in ms by this machine's clock; null without one. */
  pattern() {
    const code = readPattern(this.video);
    return code && { ...code, age: Date.now() - code.clock };
  }

  start() {
    this.#keeper.start();
    this.#timer = setInterval(() => this.#tick(), 1000);
  }

  /** Ends the session. */
  async stop(options) {
    clearInterval(this.#timer);
    this.quality.close();
    this.#closeEvents();
    const ended = this.#keeper.stop(options);
    this.#set('stopped');
    await ended;
  }

  // ---- session ---------------------------------------------------------------------------------------------------------

  #prepare(pc) {
    this.#reader = new StatsReader(pc);
    this.#inactive = null;
    const stream = new MediaStream();
    receiveDescriptors(pc.addTransceiver('video', { direction: 'recvonly' }));
    pc.addTransceiver('audio', { direction: 'recvonly' });
    pc.addEventListener('track', ({ track, receiver }) => {
      // The shortest buffer that the network allows: the browser still grows it on jitter.
      if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = this.#buffer;
      else if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = this.#buffer / 1000;
      stream.addTrack(track);
      if (this.video.srcObject !== stream) this.video.srcObject = stream;
      this.video.play().catch(() => {});
    });
  }

  #opened() {
    this.sessions += 1;
    this.#mediaAt = 0;
    this.#closeEvents();
    this.quality.open(this.#keeper.session);
    this.#subscribe(this.#keeper.session);
  }

  /** Server-sent events tell at once what statistics tell seconds later, and why. */
  async #subscribe(session) {
    const link = session.links.find((one) => one.rel === EVENTS);
    if (!link || !session.url || !('EventSource' in window)) return;
    const offered = session.links.filter((one) => [EVENTS, OWN_EVENTS].includes(one.rel)).flatMap((one) => one.events?.split(/[\s,]+/) ?? WANTED_EVENTS);
    const url = new URL(link.target, session.url);
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...session.authorization() },
        body: JSON.stringify(WANTED_EVENTS.filter((name) => offered.includes(name))),
      });
      if (!response.ok) throw await Problem.from(response);
      const at = response.headers.get('Location');
      if (!at || session !== this.#keeper.session || session.state === 'ended') return;
      const source = new EventSource(new URL(at, url));
      const on = (name, use) => source.addEventListener(name, ({ data }) => {
        let body = null;
        try { body = JSON.parse(data); } catch { body = null; }
        use(body ?? {});
        this.#update();
      });
      on('active', () => { this.#inactive = null; });
      on('inactive', (body) => { this.#inactive = { ...body, since: Date.now() }; this.#busyTicks = 0; });
      on('layers', (body) => { this.quality.layers(body); });
      on('quality', (body) => { this.quality.quality(body); });
      on('viewercount', (body) => {
        this.viewers = body.viewercount ?? body.count ?? null;
        this.dispatchEvent(new Event('viewers'));
      });
      session.ended.then(() => source.close());
      this.#events = source;
    } catch (error) {
      console.warn('weir: no events', error.message);
    }
  }

  #closeEvents() {
    this.#events?.close();
    this.#events = null;
  }

  async #tick() {
    const reader = this.#reader;
    if (!reader || !this.pc || this.pc.connectionState === 'closed') { this.#update(); return; }
    try {
      const stats = await reader.read();
      if (reader !== this.#reader) return;
      this.stats = stats;
    } catch {
      return;
    }
    const video = this.stats.inbound.find((row) => row.kind === 'video');
    const arrived = this.stats.inbound.some((row) => row.arrived > 0);
    if (arrived) this.#mediaAt = Date.now();
    // A missed `active` must not hide a picture that is there.
    this.#busyTicks = (PICTURE_REASONS.includes(this.#inactive?.reason) ? video?.arrived > 0 : arrived) ? this.#busyTicks + 1 : 0;
    if (this.#inactive && this.#busyTicks > 1) this.#inactive = null;
    this.#update();
    if (this.#inactive?.reason === 'keyframe') this.#showState(); // its words count seconds
    this.#showStats();
  }

  #update() {
    const { state, problem } = this.#keeper;
    if (state === 'stopped' || this.state === 'stopped') return;
    if (state === 'connected') {
      if (this.#inactive?.reason === 'codec') this.#set('unsupported', this.#codecProblem());
      else if (!this.#inactive && Date.now() - this.#mediaAt < SILENT_MS) this.#set('playing');
      else this.#set('waiting');
    } else if (state === 'retrying' && problem?.status === 422) {
      this.#set('unsupported', problem);
    } else if (state === 'retrying' && [404, 409].includes(problem?.status)) {
      this.#set('waiting');
    } else if (state === 'connecting' && ['waiting', 'unsupported', 'retrying'].includes(this.state)) {
      // Another try: what was said about the last one stays true until this one connects.
    } else if (state in WORDS) {
      this.#set(state, problem);
    }
  }

  #codecProblem() {
    const { publishes: name, kind, offered } = this.#inactive;
    const able = Array.isArray(offered) && offered.length > 0 ? ` (it can: ${offered.map((one) => codecLabel(String(one))).join(', ')})` : '';
    return new Problem({
      status: 422,
      title: name ? `This browser can’t play ${codecLabel(String(name))}` : 'This browser can’t play what is published',
      detail: `The publisher’s ${kind === 'audio' ? 'sound' : 'video'} codec is none this browser can decode${able}. Another browser may play it, or the publisher can choose another codec.`,
    });
  }

  // ---- picture ---------------------------------------------------------------------------------------------------------

  #build(label, details) {
    this.video = el('video', { autoplay: true, playsinline: true, muted: true, 'aria-label': label ? `Picture of ${label}` : 'Live picture' });
    this.video.muted = true;
    const state = el('span', { class: 'pill', role: 'status', 'aria-live': 'polite' });
    const message = el('div', { class: 'message' });
    const mute = el('button', { type: 'button', class: 'round', onclick: () => { this.muted = !this.muted; this.dispatchEvent(new Event('mute')); } });
    /** The quality menu. */
    this.quality = new QualityMenu(this.video, label);
    const full = el('button', { type: 'button', class: 'round', 'aria-label': 'Full screen', onclick: () => this.#fullScreen() }, icon('full'));
    const screen = el('div', { class: 'screen' },
      this.video,
      message,
      el('p', { class: 'badge' }, state, label ? el('span', { class: 'pill name' }, label) : null),
      el('div', { class: 'controls' }, this.quality.node, mute, full));
    const summary = el('summary', {}, el('span', { class: 'summary' }));
    const facts = el('dl', { class: 'facts' });
    this.node = el('figure', { class: 'player' }, screen, el('figcaption', {}, el('details', { open: details }, summary, facts)));
    this.#parts = { state, message, mute, screen, summary: summary.firstChild, facts, label };
    this.video.addEventListener('volumechange', () => this.#showMute());
    this.video.addEventListener('loadeddata', () => { this.#mediaAt = Date.now(); this.#update(); });
    this.#showMute();
    this.#showState();
    this.#showStats();
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.#parts.screen.requestFullscreen) this.#parts.screen.requestFullscreen().catch(() => {});
    else this.video.webkitEnterFullscreen?.();
  }

  #showMute() {
    const { mute, label } = this.#parts;
    const { muted } = this.video;
    if (mute.dataset.muted === String(muted)) return;
    mute.dataset.muted = String(muted);
    mute.setAttribute('aria-label', `${muted ? 'Unmute' : 'Mute'}${label ? ` ${label}` : ''}`);
    mute.replaceChildren(icon(muted ? 'silent' : 'sound'));
  }

  #set(state, problem = null) {
    if (this.state === state && this.problem?.message === problem?.message) return;
    this.state = state;
    this.problem = problem;
    this.#played ||= state === 'playing';
    this.#showState();
    this.dispatchEvent(new Event('state'));
  }

  #showState() {
    const { state, message } = this.#parts;
    setText(state, WORDS[this.state]);
    state.className = `pill ${{ playing: 'live', recovering: 'warn', retrying: 'warn', unsupported: 'bad', refused: 'bad' }[this.state] ?? ''}`;
    this.node.dataset.state = this.state;
    const notes = {
      connecting: [el('span', { class: 'spinner', 'aria-hidden': 'true' }), el('p', {}, 'Connecting…')],
      waiting: [el('span', { class: 'pulse', 'aria-hidden': 'true' }), ...this.#whyWaiting().map((text, at) => el('p', { class: at > 0 ? 'hint' : '' }, text))],
      recovering: [el('span', { class: 'spinner', 'aria-hidden': 'true' })],
    };
    message.replaceChildren(...(this.problem
      ? [problemNote(this.problem, { onToken: () => { this.#keeper.start(); } })]
      : notes[this.state] ?? []));
  }

  /** Why no picture comes, and what will become of it. */
  #whyWaiting() {
    const { reason, since, seconds, expectedSeconds } = this.#inactive ?? {};
    if (reason === 'keyframe') {
      const passed = (Date.now() - since) / 1000;
      const waited = Math.round((seconds ?? 0) + passed);
      const left = Math.round((expectedSeconds ?? 0) - passed);
      return [
        `Waiting for the publisher’s keyframe${waited > 0 ? `, for ${waited} s so far` : ''}${left > 0 ? `; the next is due in about ${left} s` : ''}.`,
        'A picture can only start with one. The server has asked for it; some encoders send them at their own pace.',
      ];
    }
    if (reason === 'bandwidth') return ['The connection is too slow for the picture.', 'The sound goes on; the picture comes back by itself.'];
    return this.#played
      ? ['The publisher has stopped for now.', 'The picture comes back by itself.']
      : ['Nobody is publishing yet.', 'The picture starts by itself.'];
  }

  /** The layer that flows, as the server tells. */
  #layerText() {
    const { slot } = this.quality;
    if (!slot || slot.spatialLayerId === null) return '–';
    const rid = slot.rid === null ? '' : `${slot.rid} · `;
    const numbers = slot.spatialLayerId || slot.temporalLayerId ? ` · S${slot.spatialLayerId} T${slot.temporalLayerId}` : '';
    return `${rid}${sizeText(slot)}${numbers}${slot.automatic ? '' : ' (chosen)'}`;
  }

  #showStats() {
    const video = this.stats?.inbound.find((row) => row.kind === 'video');
    const audio = this.stats?.inbound.find((row) => row.kind === 'audio');
    const total = (video?.bitrate ?? 0) + (audio?.bitrate ?? 0);
    const playing = this.state === 'playing';
    setText(this.#parts.summary, playing
      ? [linesText(video?.height), video?.fps ? fpsText(video.fps) : '', total > 0 ? bitrateText(total) : '', video?.codec ? codecLabel(video.codec) : ''].filter(Boolean).join(' · ') || 'Sound only'
      : 'Statistics');
    const age = playing ? this.pattern()?.age : null;
    const facts = [
      ['Resolution', sizeText(video)],
      ['Frame rate', fpsText(video?.fps)],
      ['Bitrate', this.stats ? bitrateText(total) : '–'],
      ['Video codec', codecLabel(video?.codec)],
      ['Sound codec', audio?.packets ? codecLabel(audio.codec) : '–'],
      ['Layer', this.#layerText()],
      ['Estimate', this.quality.slot && this.quality.estimate === null ? 'no limit' : bitrateText(this.quality.estimate)],
      ['Round trip', msText(this.stats?.rtt)],
      ['Loss', shareText(video?.loss ?? audio?.loss)],
      ['Jitter buffer', msText(video?.buffer ?? audio?.buffer)],
      ['Frames dropped', video?.dropped ?? '–'],
      ['Freezes', video?.freezes ?? '–'],
      ...(Number.isFinite(age) ? [['Picture’s age', msText(age)]] : []),
      ['Path', this.stats?.path ?? '–'],
    ];
    this.#parts.facts.replaceChildren(...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value)))));
  }
}
