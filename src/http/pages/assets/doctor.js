// The doctor's findings about a publisher, as the API gives them, in words and with what to change.

import { el } from './common.js';

const TITLES = {
  b_frames: 'B-frames',
  parameter_sets_missing: 'Missing parameter sets',
  keyframe_interval: 'Keyframes too rare',
  keyframe_requests_ignored: 'Keyframe requests ignored',
  dead_layer: 'Simulcast layer missing',
  no_nack: 'No repair of losses',
  no_rtx: 'Repair without RTX',
  clock_drift: 'Clock drifts',
  uplink_loss: 'Loss on the uplink',
  late_frames: 'Uneven arrival',
};
const TOOLS = { obs: 'OBS', ffmpeg: 'FFmpeg', gstreamer: 'GStreamer', browser: 'Browser' };
const CLASSES = { error: 'bad', warning: 'warn' };

/** A finding's name for people. */
export const findingTitle = (finding) => TITLES[finding.code] ?? finding.code;

/** Details that somebody opened: lists are made anew when numbers move, and must stay open. */
const opened = new Set();

/** A `details` element that keeps its state by its name when it is made anew. */
export function keptDetails(name, summary, ...children) {
  return el('details', {
    open: opened.has(name),
    ontoggle: ({ target }) => { opened[target.open ? 'add' : 'delete'](name); },
  }, el('summary', { 'data-name': name }, summary), ...children);
}

/** The list of findings of whoever publishes at `place`; `tools` says whose remedies to show, all without it. */
export function findingList(findings, place, tools = Object.keys(TOOLS)) {
  return el('ul', { class: 'findings' }, findings.map((finding) => el('li', {},
    el('p', {},
      el('span', { class: `pill ${CLASSES[finding.severity] ?? ''}` }, findingTitle(finding)),
      finding.rid ? el('span', { class: 'hint' }, ` layer ${finding.rid}`) : null),
    el('p', {}, finding.what),
    el('p', { class: 'hint' }, `Viewers: ${finding.effect}`),
    keptDetails(`${place}/${finding.code}/${finding.rid ?? ''}/${finding.track}`, 'What to change',
      el('dl', {}, tools.filter((tool) => finding.change?.[tool]).map((tool) => [el('dt', {}, TOOLS[tool]), el('dd', {}, finding.change[tool])]).flat())))));
}
