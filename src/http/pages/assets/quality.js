// The quality menu of a player: automatic, or one of the layers that the publisher sends (draft-ietf-wish-whep-events).

import { announce, el, linesText } from './common.js';
import { bitrateText } from './stats.js';
import { Problem } from './whip-whep.js';

const LAYER = 'urn:ietf:params:whep:ext:core:layer';
/** The player's size is told when it has not changed for this long, and by more than this share. */
const SETTLE_MS = 400;
const STEP = 0.1;

const AUTO = 'auto';
const keyOf = (layer) => JSON.stringify([layer.rid ?? layer.encodingId ?? null, layer.spatialLayerId ?? null, layer.temporalLayerId ?? null]);

/**
 * A native select, so that keyboards, phones and screen readers work it as they know it. Give it the session of the player
 * (`open`), its `layers` and `quality` events; it tells the server what was chosen, and in automatic mode the picture's size.
 */
export class QualityMenu {
  #session = null;
  #url = null;
  #mid = null;
  #layers = [];
  #shown = '';
  #chosen = AUTO;
  #told = null;
  #timer = 0;
  #lastSize = null;
  #observer;
  #video;

  constructor(video, label) {
    this.#video = video;
    /** What the server says flows: {rid, width, height, automatic, …}, and its estimate. */
    this.slot = null;
    this.estimate = null;
    this.node = el('select', { class: 'quality', 'aria-label': label ? `Quality of ${label}` : 'Quality', hidden: true, onchange: () => this.#choose() });
    this.#observer = new ResizeObserver(() => this.#resized());
    this.#observer.observe(video);
  }

  /** Another session: what was chosen by hand stays chosen where that layer is there again. */
  open(session) {
    const link = session.links.find((one) => one.rel === LAYER);
    this.#session = session;
    this.#url = link && session.url ? new URL(link.target, session.url) : null;
    this.#mid = null;
    this.#layers = [];
    this.#told = null;
    this.slot = null;
    this.estimate = null;
    this.#show();
  }

  close() {
    this.#observer.disconnect();
    clearTimeout(this.#timer);
  }

  /** The data of a `layers` event. */
  layers(data) {
    const [mid, layers] = Object.entries(data).find(([, list]) => Array.isArray(list)) ?? [null, []];
    const first = this.#mid === null || this.#layers.length === 0;
    this.#mid = mid;
    this.#layers = layers;
    this.#show();
    if (first && layers.length > 0) this.#tell();
  }

  /** The data of a `quality` event. */
  quality(data) {
    this.estimate = data.estimate ?? null;
    this.slot = Object.values(data.slots ?? {})[0] ?? null;
    this.#show();
  }

  /** For tests and the console: the options' texts by their values. */
  get options() {
    return Object.fromEntries([...this.node.options].map((option) => [option.value, option.textContent]));
  }

  get value() {
    return this.#chosen;
  }

  /** Chooses as a click would. */
  set value(value) {
    this.node.value = value;
    this.#choose();
  }

  // ---- the list --------------------------------------------------------------------------------------------------------

  #show() {
    const layers = this.#layers;
    this.node.hidden = !this.#url || layers.length === 0;
    const rows = [[AUTO, this.#autoText(), false], ...layers.map((layer) => [keyOf(layer), this.#text(layer), !layer.bitrate])];
    // A layer that is gone stays in the list while it is the choice.
    if (this.#chosen !== AUTO && !rows.some(([key]) => key === this.#chosen)) rows.push([this.#chosen, 'Chosen layer (not sent)', true]);
    const keys = JSON.stringify(rows.map(([key]) => key));
    if (keys !== this.#shown) {
      this.#shown = keys;
      this.node.replaceChildren(...rows.map(([key, text]) => new Option(text, key)));
      this.node.value = this.#chosen;
    }
    // Texts change in place: a list that somebody has open must not jump.
    rows.forEach(([, text, off], at) => {
      const option = this.node.options[at];
      if (option.textContent !== text) option.textContent = text;
      option.disabled = off;
    });
  }

  #autoText() {
    const selected = this.#layers.find((layer) => layer.selected);
    const height = linesText(selected?.height ?? this.slot?.height);
    return height ? `Auto (${height})` : 'Auto';
  }

  #text(layer) {
    const twins = this.#layers.filter((other) => other.height === layer.height && other.width === layer.width);
    const name = linesText(layer.height) || (layer.rid ? `Layer ${layer.rid}` : 'Layer');
    const pace = twins.length > 1 && layer.frameRate ? ` ${layer.frameRate} fps` : '';
    return `${name}${pace} · ${layer.bitrate ? bitrateText(layer.bitrate) : 'not sent'}`;
  }

  // ---- the choice ------------------------------------------------------------------------------------------------------

  #choose() {
    this.#chosen = this.node.value || AUTO;
    this.#told = null;
    this.#tell();
  }

  #resized() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), SETTLE_MS);
  }

  /** The picture's size on the screen in device pixels; the last one while it is not shown, null when it never was. */
  #size() {
    const { width, height } = this.#video.getBoundingClientRect();
    const scale = Math.max(devicePixelRatio || 1, 1);
    if (width >= 1 && height >= 1) {
      this.#lastSize = { maxWidth: Math.round(width * scale), maxHeight: Math.round(height * scale) };
    }
    return this.#lastSize;
  }

  #wish() {
    if (this.#chosen === AUTO) return this.#size() ?? {};
    const [rid, spatial, temporal] = JSON.parse(this.#chosen);
    const same = this.#layers.filter((layer) => (layer.rid ?? null) === rid);
    const several = (name) => new Set(same.map((layer) => layer[name])).size > 1;
    return {
      ...(rid !== null && { rid }),
      ...(several('spatialLayerId') && { spatialLayerId: spatial }),
      ...(several('temporalLayerId') && { temporalLayerId: temporal }),
    };
  }

  async #tell() {
    const session = this.#session;
    if (!this.#url || this.#mid === null || session.state === 'ended') return;
    const wish = this.#wish();
    if (!this.#isNews(wish)) return;
    this.#told = wish;
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...session.authorization() },
        body: JSON.stringify({ mediaId: this.#mid, ...wish }),
      });
      if (!response.ok) throw await Problem.from(response);
    } catch (error) {
      if (session !== this.#session) return;
      this.#told = null;
      console.warn('weir: layer not chosen', error.message);
      if (error.status === 422 && this.#chosen !== AUTO) {
        announce('That quality is not sent any more');
        this.#chosen = AUTO;
        this.node.value = AUTO;
        this.#tell();
      }
    }
  }

  /** Sizes that moved by a little are not worth a request. */
  #isNews(wish) {
    const told = this.#told;
    if (!told) return true;
    if (!('maxWidth' in wish && 'maxWidth' in told)) return JSON.stringify(wish) !== JSON.stringify(told);
    const moved = (name) => Math.abs(wish[name] - told[name]) > told[name] * STEP;
    return moved('maxWidth') || moved('maxHeight');
  }
}
