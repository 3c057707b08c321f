// A plain WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) client. It knows HTTP, SDP and ICE; it knows nothing of any page.
//
// `Session` is one resource on the server: POST, trickle, ICE restart, DELETE.
// `Keeper` keeps one session alive: it opens the next when the last one is lost, with back-off.

import { fragment, iceServersOf, parseLinks, restartedAnswer } from './sdp.js';

/** Longest wait for local candidates before the offer is sent; later ones are trickled. */
const GATHER_MS = 1000;
/** Longest wait for ICE-server links before gathering starts without them. */
const OPTIONS_MS = 400;
/** A server that says nothing for so long is not there. */
const REQUEST_MS = 8000;
/** A session that is not connected by then is given up. */
const CONNECT_MS = 12000;
/** ICE often heals by itself within this time after `disconnected`. */
const HEAL_MS = 1500;
/** How often a lost path is restarted before a new session is made. */
const RESTARTS = 3;
/** Longest pause between two tries. */
const MAX_BACKOFF_MS = 10000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What went wrong, in the words of the server's problem document (RFC 9457) where it sent one. */
export class Problem extends Error {
  constructor({ status = 0, title, detail = '', retryAfter = null, body = null }) {
    super(detail ? `${title}: ${detail}` : title);
    /** HTTP status; 0 when there was no HTTP answer. */
    this.status = status;
    this.title = title;
    this.detail = detail;
    /** Milliseconds the server asked to wait, or null. */
    this.retryAfter = retryAfter;
    /** The whole problem document, or null. */
    this.body = body;
  }

  /** True when the same request can't succeed without another token. */
  get needsToken() {
    return this.status === 401 || this.status === 403;
  }

  static async from(response) {
    let body = null;
    const text = await response.text().catch(() => '');
    if ((response.headers.get('Content-Type') || '').includes('json')) {
      try { body = JSON.parse(text); } catch { body = null; }
    }
    const known = {
      401: 'A token is needed',
      403: 'This token does not allow that',
      404: 'Not found',
      409: 'Nobody publishes here yet',
      413: 'The request is too large',
      422: 'Browser and stream do not fit together',
      429: 'Too many requests',
      503: 'The server is busy',
    };
    return new Problem({
      status: response.status,
      title: body?.title || known[response.status] || `The server answered ${response.status}`,
      detail: body?.detail || (body ? '' : text.trim().slice(0, 200)),
      retryAfter: retryAfter(response),
      body,
    });
  }
}

/** `Retry-After` in milliseconds (seconds or a date, RFC 9110 §10.2.3), at most a minute; null without it. */
function retryAfter(response) {
  const value = response.headers.get('Retry-After');
  if (!value) return null;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 60000) : null;
}

async function http(url, init) {
  let response;
  try {
    response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(REQUEST_MS), ...init });
  } catch {
    throw new Problem({ title: 'The server can’t be reached', detail: 'Check the network; trying again.' });
  }
  if (!response.ok) throw await Problem.from(response);
  return response;
}

/**
 * One session. Options: `token()` gives the bearer token or ''; `prepare(pc)` adds transceivers and may return a promise;
 * `mungeOffer(sdp)` may change the offer; `answered(pc)` runs once the answer is set; `iceServers` from an earlier session.
 *
 * Events: `state`. States: `opening`, `connecting`, `connected`, `recovering`, `ended`.
 */
export class Session extends EventTarget {
  #options;
  #endpoint;
  #url = null;
  #etag = null;
  #unsent = [];
  #sent = false;
  #trickles = true;
  #trickleTimer = 0;
  #healTimer = 0;
  #connectTimer = 0;
  #restarting = false;
  #end;

  constructor(endpoint, options) {
    super();
    this.#endpoint = endpoint;
    this.#options = options;
    this.state = 'opening';
    this.wasConnected = false;
    /** Links of the 201, as `parseLinks` gives them. */
    this.links = [];
    this.iceServers = options.iceServers ?? null;
    /** How many ICE restarts the server answered. */
    this.restarts = 0;
    this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: this.iceServers ?? [] });
    /** Resolves when the session is over: {reason: 'stopped' | 'closed' | 'lost' | 'timeout'}. */
    this.ended = new Promise((resolve) => { this.#end = resolve; });
  }

  /** The session's URL, once the server gave one. */
  get url() {
    return this.#url;
  }

  /** Headers of an authorised request. */
  authorization() {
    const token = this.#options.token?.();
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /** Sends the offer and applies the answer. Throws a `Problem`. */
  async open() {
    try {
      await this.#open();
    } catch (error) {
      this.#finish('lost');
      await this.#delete(false);
      throw error instanceof Problem ? error : new Problem({ title: 'The connection could not be set up', detail: error.message });
    }
  }

  async #open() {
    const { pc } = this;
    pc.addEventListener('icecandidate', ({ candidate }) => this.#candidate(candidate));
    pc.addEventListener('connectionstatechange', () => this.#connection());
    const servers = this.iceServers ? null : this.#askIceServers();
    await this.#options.prepare?.(pc);
    await servers;
    await this.#offer({});
    const response = await http(this.#endpoint, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', ...this.authorization() },
      body: this.#localOffer(),
    });
    const location = response.headers.get('Location');
    if (location) this.#url = new URL(location, response.url).href;
    this.#etag = response.headers.get('ETag');
    this.links = parseLinks(response.headers.get('Link'));
    const fresh = iceServersOf(this.links);
    if (fresh.length > 0) this.#setIceServers(fresh);
    const answer = await response.text();
    if (this.state === 'ended') { // stopped while the server answered
      await this.#delete(false);
      throw new Problem({ title: 'Stopped' });
    }
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    await this.#options.answered?.(pc);
    this.#watchDtls();
    this.#set('connecting');
    this.#connectTimer = setTimeout(() => this.#finish('timeout'), CONNECT_MS);
    this.#flushCandidates();
    this.#connection();
  }

  /** ICE servers come with a plain OPTIONS (RFC 9725 §4.6), in time for the first gathering. */
  async #askIceServers() {
    const ask = fetch(this.#endpoint, { method: 'OPTIONS', headers: this.authorization(), cache: 'no-store' })
      .then((response) => (response.ok ? iceServersOf(parseLinks(response.headers.get('Link'))) : []))
      .catch(() => []);
    const servers = await Promise.race([ask, sleep(OPTIONS_MS).then(() => null)]);
    if (servers?.length) this.#setIceServers(servers);
  }

  #setIceServers(servers) {
    try {
      this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: servers });
      this.iceServers = servers;
    } catch (error) {
      console.warn('weir: ICE servers not usable', error);
    }
  }

  /** Makes and sets an offer and waits a moment for its candidates. */
  async #offer(options) {
    const { pc } = this;
    this.#sent = false;
    this.#unsent = [];
    const offer = await pc.createOffer(options);
    const munged = this.#options.mungeOffer?.(offer.sdp) ?? offer.sdp;
    try {
      await pc.setLocalDescription({ type: 'offer', sdp: munged });
    } catch (error) {
      if (munged === offer.sdp) throw error;
      await pc.setLocalDescription(offer); // a browser that takes no changes
    }
    await new Promise((resolve) => {
      if (pc.iceGatheringState === 'complete') { resolve(); return; }
      const timer = setTimeout(resolve, GATHER_MS);
      pc.addEventListener('icegatheringstatechange', () => {
        if (pc.iceGatheringState === 'complete') { clearTimeout(timer); resolve(); }
      });
    });
  }

  /** The offer with all candidates found so far; what comes later is trickled. */
  #localOffer() {
    this.#sent = true;
    this.#unsent = [];
    return this.pc.localDescription.sdp;
  }

  #candidate(candidate) {
    if (!this.#sent) return; // it is in the offer
    this.#unsent.push(candidate?.candidate ? candidate.candidate : null);
    clearTimeout(this.#trickleTimer);
    this.#trickleTimer = setTimeout(() => this.#flushCandidates(), 50);
  }

  async #flushCandidates() {
    if (!this.#url || !this.#trickles || this.#restarting || this.#unsent.length === 0 || this.state === 'ended') return;
    const batch = this.#unsent.splice(0);
    const candidates = batch.filter((candidate) => candidate !== null);
    if (candidates.length === 0) return; // an end alone is not worth a request: the server needs no end
    try {
      await this.#patch(fragment(this.pc.localDescription.sdp, candidates, batch.includes(null)), this.#etag);
    } catch (error) {
      // Without trickle the server still learns the address from the checks it receives.
      if (error.status === 405 || error.status === 501) this.#trickles = false;
      console.warn('weir: trickle refused', error.message);
    }
  }

  #patch(body, etag) {
    return http(this.#url, {
      method: 'PATCH',
      headers: {
        'Content-Type': 'application/trickle-ice-sdpfrag',
        ...(etag ? { 'If-Match': etag } : {}),
        ...this.authorization(),
      },
      body,
    });
  }

  #connection() {
    if (this.state === 'ended' || this.state === 'opening') return;
    switch (this.pc.connectionState) {
      case 'connected':
        clearTimeout(this.#healTimer);
        clearTimeout(this.#connectTimer);
        this.wasConnected = true;
        this.#set('connected');
        break;
      case 'disconnected':
        this.#set('recovering');
        clearTimeout(this.#healTimer);
        this.#healTimer = setTimeout(() => this.restart(), HEAL_MS);
        break;
      case 'failed':
        if (this.wasConnected) this.restart();
        else this.#finish('timeout');
        break;
      case 'closed':
        this.#finish('closed');
        break;
      default:
    }
  }

  /** A close_notify shows as a closed DTLS transport, in some browsers long before the connection state changes. */
  #watchDtls() {
    const transports = new Set([...this.pc.getSenders(), ...this.pc.getReceivers()].map((end) => end.transport).filter(Boolean));
    for (const transport of transports) {
      transport.addEventListener('statechange', () => {
        if (transport.state === 'closed') this.#finish('closed');
        if (transport.state === 'failed') this.#finish(this.wasConnected ? 'lost' : 'timeout');
      });
    }
  }

  /** ICE restart (RFC 9725 §4.3.3): media moves to a new path, the session stays. */
  async restart() {
    if (this.#restarting || this.state === 'ended' || !this.#url) return;
    this.#restarting = true;
    this.#set('recovering');
    const { pc } = this;
    for (let attempt = 0; attempt < RESTARTS && this.state !== 'ended'; attempt += 1) {
      try {
        await this.#offer({ iceRestart: true });
        const offer = this.#localOffer();
        const candidates = [...offer.matchAll(/^a=(candidate:[^\r\n]*)/gm)].map(([, line]) => line);
        const response = await this.#patch(fragment(offer, [...new Set(candidates)], pc.iceGatheringState === 'complete'), '*');
        const answer = restartedAnswer(pc.currentRemoteDescription.sdp, await response.text());
        if (!answer) throw new Problem({ status: response.status, title: 'The server’s ICE restart reply is not usable' });
        this.#etag = response.headers.get('ETag') ?? this.#etag;
        await pc.setRemoteDescription({ type: 'answer', sdp: answer });
        this.restarts += 1;
        this.#restarting = false;
        this.#connectTimer = setTimeout(() => {
          if (pc.connectionState !== 'connected') this.#finish('lost');
        }, CONNECT_MS / 2);
        this.#flushCandidates();
        this.#connection();
        return;
      } catch (error) {
        if (this.state === 'ended') return;
        if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' }).catch(() => {});
        if (error.status) break; // the server has spoken: this session can't be saved
        await sleep(1000 * (attempt + 1));
        if (pc.connectionState === 'connected') { this.#restarting = false; this.#connection(); return; }
      }
    }
    this.#restarting = false;
    this.#finish('lost');
    await this.#delete(false);
  }

  /** Ends the session on both sides. `keepalive` lets the request outlive the page. */
  async close({ keepalive = false } = {}) {
    const deleted = this.#delete(keepalive);
    this.#finish('stopped');
    await deleted;
  }

  async #delete(keepalive) {
    const url = this.#url;
    if (!url) return;
    this.#url = null;
    await fetch(url, { method: 'DELETE', headers: this.authorization(), keepalive }).catch(() => {});
  }

  #finish(reason) {
    if (this.state === 'ended') return;
    clearTimeout(this.#healTimer);
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#trickleTimer);
    this.#set('ended');
    this.pc.close();
    this.#end({ reason });
  }

  #set(state) {
    if (this.state === state || this.state === 'ended') return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}

/**
 * Keeps one session alive until stopped. Options are those of `Session`, and:
 * `again(reason)` — may refuse another session after one ended (returns false or a promise of it).
 *
 * Events: `state`, `session` (a new one was opened and has its answer).
 * States: `idle`, `connecting`, `connected`, `recovering`, `retrying` (see `problem`, `retryAt`),
 * `refused` (a token is needed; see `problem`), `ended` (`again` said no), `stopped`.
 */
export class Keeper extends EventTarget {
  #endpoint;
  #options;
  #wake = null;
  #iceServers = null;
  #run = 0;

  constructor(endpoint, options) {
    super();
    this.#endpoint = endpoint;
    this.#options = options;
    this.state = 'idle';
    this.session = null;
    this.problem = null;
    this.retryAt = 0;
    this.online = () => this.retryNow();
  }

  start() {
    this.#run += 1;
    addEventListener('online', this.online);
    this.#loop(this.#run);
  }

  /** Ends the session and the retries. */
  async stop(options) {
    this.#run += 1;
    removeEventListener('online', this.online);
    this.#wake?.();
    const { session } = this;
    this.#set('stopped');
    await session?.close(options);
  }

  /** Ends a pause before the next try. */
  retryNow() {
    this.#wake?.();
  }

  async #loop(run) {
    let failures = 0;
    while (run === this.#run) {
      this.#set('connecting');
      const { problem, reason, connected } = await this.#one(run);
      if (run !== this.#run) return;
      if (connected) failures = 0;
      if (problem?.needsToken) { this.#set('refused', problem); return; }
      if (reason && (await this.#options.again?.(reason)) === false) {
        if (run === this.#run) this.#set('ended');
        return;
      }
      if (run !== this.#run) return;
      const backoff = Math.min(500 * 2 ** failures, MAX_BACKOFF_MS) * (0.75 + Math.random() / 2);
      failures += 1;
      const pause = problem?.retryAfter ?? (problem?.status === 422 ? MAX_BACKOFF_MS : backoff);
      this.retryAt = Date.now() + pause;
      this.#set('retrying', problem ?? this.#lost(reason));
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, pause);
        this.#wake = () => { clearTimeout(timer); resolve(); };
      });
      this.#wake = null;
    }
  }

  /** One session from its offer to its end. */
  async #one(run) {
    const session = new Session(this.#endpoint, { ...this.#options, iceServers: this.#iceServers });
    this.session = session;
    session.addEventListener('state', () => {
      if (run !== this.#run || session.state === 'ended') return;
      this.#set(session.state === 'opening' ? 'connecting' : session.state);
    });
    try {
      await session.open();
    } catch (problem) {
      return { problem };
    }
    this.#iceServers = session.iceServers;
    if (run === this.#run) this.dispatchEvent(new Event('session'));
    const { reason } = await session.ended;
    if (reason === 'timeout') await session.close();
    return { reason, connected: session.wasConnected };
  }

  #lost(reason) {
    if (reason === 'timeout') {
      return new Problem({
        title: 'No media connection',
        detail: 'The server answered, but no media path to it was found. A firewall may block UDP.',
      });
    }
    return new Problem({
      title: reason === 'closed' ? 'The server ended the session' : 'The connection was lost',
      detail: 'Connecting again.',
    });
  }

  #set(state, problem = null) {
    if (this.state === 'stopped' && state !== 'connecting') return;
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event('state'));
  }
}
