// A plain WHIP publisher and WHEP viewer for the tests, kept to what the standards say, with hooks to look inside.
// Everything hangs on `window.e2e`; the harness calls it and gets JSON back.
import { draw, observe } from "./pattern.js";

const now = () => performance.timeOrigin + performance.now();
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const clients = new Map();
/** Gain of a tone that is on. */
const LOUD = 0.4;

async function gathered(pc, limit = 2000) {
  if (pc.iceGatheringState === "complete") return;
  await Promise.race([
    new Promise((r) =>
      pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && r()),
    ),
    sleep(limit),
  ]);
}

async function connected(pc, limit) {
  const end = now() + limit;
  while (pc.connectionState !== "connected") {
    if (pc.connectionState === "failed" || now() > end) throw new Error(`connection ${pc.connectionState}, ice ${pc.iceConnectionState}`);
    await sleep(10);
  }
}

/** An answer whose only candidate of each section is a relay: `relay` has its port for each of the server's. */
function relayed(sdp, relay) {
  const kept = /^a=candidate:(\S+ \d+ udp \d+) \S+ (\d+) (typ host)/i;
  const seen = new Set();
  let section = 0;
  const lines = sdp.split("\r\n").flatMap((line) => {
    if (line.startsWith("m=")) section++;
    if (!line.startsWith("a=candidate:")) return [line];
    const [, head, port, tail] = line.match(kept) ?? [];
    if (!relay[port] || seen.has(section)) return [];
    seen.add(section);
    return [`a=candidate:${head} 127.0.0.1 ${relay[port]} ${tail}`];
  });
  if (!seen.size) throw new Error(`no candidate of ${Object.keys(relay)} in the answer`);
  return lines.join("\r\n");
}

/** An offer whose video is simulcast of so many SSRCs in a `SIM` group, as libraries of before rids make it. */
function grouped(sdp, count) {
  const at = sdp.indexOf("m=video");
  const [, first, repair] = sdp.slice(at).match(/a=ssrc-group:FID (\d+) (\d+)/);
  const described = [...sdp.slice(at).matchAll(new RegExp(`a=ssrc:${first} (.*)\r\n`, "g"))].map((m) => m[1]);
  const pairs = Array.from({ length: count }, (_, i) => [Number(first) + i, Number(repair) + i].map((n) => n % 2 ** 32));
  const lines = [`a=ssrc-group:SIM ${pairs.map(([media]) => media).join(" ")}`];
  for (const pair of pairs) {
    lines.push(`a=ssrc-group:FID ${pair.join(" ")}`);
    for (const ssrc of pair) lines.push(...described.map((text) => `a=ssrc:${ssrc} ${text}`));
  }
  const kept = sdp.slice(at).replace(/a=ssrc(-group)?:.*\r\n/g, "");
  return sdp.slice(0, at) + kept + lines.join("\r\n") + "\r\n";
}

/** POST the offer, apply the answer. `tcpOnly` takes the server's UDP candidates away, as a firewall would. */
async function exchange(client, url, options) {
  const { pc } = client;
  const offer = await pc.createOffer();
  if (options.group) offer.sdp = grouped(offer.sdp, options.group);
  await pc.setLocalDescription(offer);
  if (options.gather !== false) await gathered(pc);
  client.postedAt = now();
  const headers = { "Content-Type": "application/sdp" };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  const response = await fetch(url, { method: "POST", headers, body: pc.localDescription.sdp });
  const body = await response.text();
  if (response.status !== 201) throw new Error(`POST ${url}: ${response.status} ${body}`);
  client.session = new URL(response.headers.get("Location"), url).href;
  client.etag = response.headers.get("ETag");
  client.answer = body;
  if (options.tcpOnly) {
    const lines = body.split("\r\n");
    if (!lines.some((l) => /^a=candidate:\S+ \d+ tcp /i.test(l))) throw new Error("no TCP candidate in the answer");
    client.answer = lines.filter((l) => !/^a=candidate:\S+ \d+ udp /i.test(l)).join("\r\n");
  }
  if (options.relay) client.answer = relayed(body, options.relay);
  await pc.setRemoteDescription({ type: "answer", sdp: client.answer });
  await connected(pc, options.limit ?? 10000);
  client.connectedAt = now();
}

function prefer(transceiver, kind, codec) {
  if (!codec) return;
  const all = RTCRtpReceiver.getCapabilities(kind).codecs;
  const name = codec.mime.toLowerCase();
  let chosen = all.filter((c) => c.mimeType.toLowerCase() === name);
  if (codec.fmtp) chosen = chosen.filter((c) => (c.sdpFmtpLine ?? "").includes(codec.fmtp));
  if (!chosen.length) throw new Error(`this browser has no ${codec.mime} ${codec.fmtp ?? ""}`);
  // Retransmission goes with any codec, and RED (RFC 2198) carries Opus.
  const helpers = all.filter((c) => /\/rtx$/.test(c.mimeType) || (/\/red$/.test(name) && c.mimeType === "audio/opus"));
  transceiver.setCodecPreferences([...chosen, ...helpers]);
}

/** Runs in a worker: notes every encoded frame as [at, ssrc, spatial, temporal], at the moment at which it leaves the encoder. */
function noteFrames() {
  self.onrtctransform = ({ transformer }) => {
    const notes = [];
    transformer.options.port.onmessage = ({ target }) => target.postMessage(notes);
    const note = new TransformStream({
      transform(frame, out) {
        const { synchronizationSource, spatialIndex = 0, temporalIndex = 0 } = frame.getMetadata();
        notes.push([performance.timeOrigin + performance.now(), synchronizationSource, spatialIndex, temporalIndex]);
        out.enqueue(frame);
      },
    });
    transformer.readable.pipeThrough(note).pipeTo(transformer.writable);
  };
}

/** Notes what a sender's encoders make, for `encoded`. */
function note(client, sender) {
  const url = URL.createObjectURL(new Blob([`(${noteFrames})()`], { type: "text/javascript" }));
  const { port1, port2 } = new MessageChannel();
  sender.transform = new RTCRtpScriptTransform(new Worker(url), { port: port2 }, [port2]);
  Object.assign(client, { notes: port1, sender });
}

/** The frames that a publisher with `notes` encoded so far: [at, rid, spatial, temporal], rid null without simulcast. */
async function encoded(id) {
  const { notes, sender } = clients.get(id);
  const told = new Promise((resolve) => (notes.onmessage = ({ data }) => resolve(data)));
  notes.postMessage(null);
  const rids = {};
  (await sender.getStats()).forEach((s) => s.type === "outbound-rtp" && (rids[s.ssrc] = s.rid ?? null));
  return (await told).map(([at, ssrc, ...layers]) => [at, rids[ssrc] ?? null, ...layers]);
}

/** Blocks that no encoder foresees: it spends whatever it may. */
function blocks(ctx, width, height) {
  const small = new OffscreenCanvas(width >> 3, height >> 3);
  const image = new ImageData(small.width, small.height);
  for (let i = 0; i < image.data.length; i += 4) image.data.fill(88 + Math.random() * 80, i, i + 3).fill(255, i + 3, i + 4);
  small.getContext("2d").putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(small, 0, 0, width, height);
}

/** A grainy picture: a piece of it below the pattern makes encoders use the rate that they are given. */
function noise(width, height) {
  const canvas = new OffscreenCanvas(width / 2, height / 2);
  const ctx = canvas.getContext("2d");
  const grain = ctx.createImageData(canvas.width, canvas.height);
  for (let at = 0; at < grain.data.length; at++) grain.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
  ctx.putImageData(grain, 0, 0);
  return canvas;
}

/** Publishes the pattern and a tone. Options: id, url, codec {mime, fmtp}, width, height, fps, hz, first, bitrate, layers, group, notes, soundOnly, busy, grainy. */
async function publish(options) {
  const { id, url, width = 640, height = 360, fps = 20, hz = 440, first = 0, bitrate = 900000 } = options;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  document.body.append(canvas);
  const ctx = canvas.getContext("2d", { alpha: false });
  let counter = first;
  draw(ctx, width, height, counter, Math.floor(now()));
  const stream = canvas.captureStream(fps);
  const video = stream.getVideoTracks()[0];
  const grain = options.grainy && noise(width, height);
  const picture = () => {
    draw(ctx, width, height, ++counter, Math.floor(now()));
    if (options.busy) blocks(ctx, width, height);
    if (grain) ctx.drawImage(grain, (Math.random() * grain.width) / 2, 0, grain.width / 2, grain.height / 2, 0, (height * 2) / 3, width / 2, height / 3);
  };
  const timer = setInterval(picture, 1000 / fps);

  const audio = new AudioContext({ sampleRate: 48000 });
  await audio.resume();
  const oscillator = audio.createOscillator();
  oscillator.frequency.value = hz;
  const gain = audio.createGain();
  gain.gain.value = options.talking === false ? 0 : LOUD;
  const sink = audio.createMediaStreamDestination();
  oscillator.connect(gain).connect(sink);
  oscillator.start();

  const pc = new RTCPeerConnection();
  const client = { pc, gain, stop: () => (clearInterval(timer), audio.close(), canvas.remove()) };
  clients.set(id, client);
  const at = pc.addTransceiver(sink.stream.getAudioTracks()[0], { direction: "sendonly", streams: [stream] });
  const encodings = options.layers ?? [{ maxBitrate: bitrate }];
  const vt = options.soundOnly ? null : pc.addTransceiver(video, { direction: "sendonly", streams: [stream], sendEncodings: encodings });
  if (vt) prefer(vt, "video", options.codec);
  prefer(at, "audio", options.audioCodec);
  if (options.notes) note(client, vt.sender);
  await exchange(client, url, options);
  if (!vt) return { session: client.session };
  const parameters = vt.sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  if (options.group) {
    const rates = [100000, 250000, 600000];
    parameters.encodings.forEach((e, i) => Object.assign(e, { scaleResolutionDownBy: 2 ** (options.group - 1 - i), maxBitrate: rates[i] }));
  }
  await vt.sender.setParameters(parameters).catch(() => {});
  return { session: client.session, connectMs: client.connectedAt - client.postedAt, connectedAt: client.connectedAt };
}

/** Turns a publisher's tone on or off, as somebody who talks or is silent. */
function talk(id, on) {
  clients.get(id).gain.gain.value = on ? LOUD : 0;
}

const DESCRIPTOR = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/** Offers to receive dependency descriptors, which Chromium leaves out unless it is asked. */
function describe(transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.();
  if (!extensions) return;
  for (const extension of extensions) if (extension.uri === DESCRIPTOR) extension.direction = "sendrecv";
  transceiver.setHeaderExtensionsToNegotiate(extensions);
}

/** Watches and notes every decoded picture of the first video section, with `each` those of all of them.
    Options: id, url, codec, descriptors, relay, videos, audios (sections). */
async function watch(options) {
  const pc = new RTCPeerConnection();
  const element = document.createElement("video");
  element.autoplay = true;
  element.playsInline = true;
  document.body.append(element);
  const client = { pc, element, frames: [], unreadable: 0, sizes: {}, stop: () => element.remove() };
  clients.set(options.id, client);
  const stream = new MediaStream();
  pc.addEventListener("track", (e) => {
    client.streams = (client.streams ?? []).concat(e.streams.map((s) => s.id));
    stream.addTrack(e.track);
    element.srcObject = stream;
    element.play().catch(() => {});
    if (e.track.kind === "audio") listen(client, stream);
    else if (options.each) notePictures(client, e);
  });
  const vt = pc.addTransceiver("video", { direction: "recvonly" });
  const at = pc.addTransceiver("audio", { direction: "recvonly" });
  prefer(vt, "video", options.codec);
  prefer(at, "audio", options.audioCodec);
  if (options.descriptors) describe(vt);
  for (let more = 1; more < (options.videos ?? 1); more++) pc.addTransceiver("video", { direction: "recvonly" });
  for (let more = 1; more < (options.audios ?? 1); more++) pc.addTransceiver("audio", { direction: "recvonly" });
  observe(element, client);
  await exchange(client, options.url, options);
  return { session: client.session, connectMs: client.connectedAt - client.postedAt };
}

/** Shows a section of several in an element of its own, and notes its pictures. */
function notePictures(client, { track, transceiver }) {
  const element = document.createElement("video");
  Object.assign(element, { autoplay: true, playsInline: true, muted: true, srcObject: new MediaStream([track]) });
  document.body.append(element);
  const notes = { frames: [], unreadable: 0, sizes: {} };
  (client.sections ??= []).push({ transceiver, notes });
  observe(element, notes);
  element.play().catch(() => {});
}

function listen(client, stream) {
  const audio = new AudioContext({ sampleRate: 48000 });
  audio.resume();
  client.analyser = audio.createAnalyser();
  client.analyser.fftSize = 8192;
  client.analyser.smoothingTimeConstant = 0;
  // Chromium feeds a remote track into WebAudio only while a media element plays it; the page's video element does.
  audio.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(client.analyser);
  client.audioContext = audio;
}

/** The strongest frequency heard now and its level in dBFS; a few looks, since one may fall into a gap. */
async function tone(id) {
  const { analyser, audioContext } = clients.get(id);
  const heard = [];
  const bins = new Float32Array(analyser.frequencyBinCount);
  for (let look = 0; look < 5; look++) {
    analyser.getFloatFrequencyData(bins);
    let best = 2;
    for (let i = 2; i < bins.length - 1; i++) if (bins[i] > bins[best]) best = i;
    const [a, b, c] = [bins[best - 1], bins[best], bins[best + 1]];
    const shift = Number.isFinite(a + b + c) && a - 2 * b + c !== 0 ? (0.5 * (a - c)) / (a - 2 * b + c) : 0;
    heard.push({ hz: ((best + shift) * audioContext.sampleRate) / analyser.fftSize, db: Number.isFinite(b) ? b : -200 });
    await sleep(120);
  }
  return heard;
}

async function pair(pc) {
  const report = await pc.getStats();
  let transport = null;
  report.forEach((s) => (transport = s.type === "transport" ? s : transport));
  let chosen = transport && report.get(transport.selectedCandidatePairId);
  // Firefox has no transport report: the pair in use is the one that is nominated and selected.
  report.forEach((s) => (chosen ??= s.type === "candidate-pair" && s.selected ? s : null));
  const local = chosen && report.get(chosen.localCandidateId);
  const remote = chosen && report.get(chosen.remoteCandidateId);
  return chosen && { local: `${local?.address ?? ""}:${local?.port}`, port: local?.port, protocol: local?.protocol, remote: `${remote?.address}:${remote?.port}`, rtt: chosen.currentRoundTripTime };
}

/** What the harness reads of a client: pictures, state, codecs and counters from the browser itself. */
async function report(id) {
  const c = clients.get(id);
  const out = { state: c.pc.connectionState, frames: c.frames, firstAt: c.firstAt ?? null, unreadable: c.unreadable, sizes: c.sizes, postedAt: c.postedAt, connectedAt: c.connectedAt, streams: c.streams, pictures: (c.sections ?? []).map((s) => ({ mid: s.transceiver.mid, frames: s.notes.frames })), rtp: [], pair: await pair(c.pc) };
  const stats = await c.pc.getStats();
  stats.forEach((s) => {
    if (s.type !== "inbound-rtp" && s.type !== "outbound-rtp") return;
    const codec = s.codecId && stats.get(s.codecId);
    out.rtp.push({ ...s, codec: codec?.mimeType, fmtp: codec?.sdpFmtpLine });
  });
  return out;
}

/** Who is in which section of a room's viewer, from its event stream: waits until `count` participants are told. */
async function slots(id, count) {
  const c = clients.get(id);
  const headers = { "Content-Type": "application/json" };
  const made = await fetch(`${c.session}/events`, { method: "POST", headers, body: '["slots"]' });
  if (made.status !== 201) throw new Error(`events: ${made.status} ${await made.text()}`);
  const source = new EventSource(new URL(made.headers.get("Location"), c.session));
  try {
    return await new Promise((resolve, reject) => {
      let last = null;
      setTimeout(() => reject(new Error(`slots: ${JSON.stringify(last)}`)), 10000);
      source.addEventListener("slots", (e) => {
        last = JSON.parse(e.data);
        if (new Set(Object.values(last).filter(Boolean)).size === count) resolve(last);
      });
    });
  } finally {
    source.close();
  }
}

/** Forgets the pictures seen so far. */
function clear(id) {
  Object.assign(clients.get(id), { frames: [], unreadable: 0, sizes: {} });
}

/** ICE restart as RFC 9725 section 4.3.3 wants it: PATCH with new credentials, answered by new credentials. If the reply is `lost`,
 *  the client goes on as before. */
async function restartIce(id, lost) {
  const c = clients.get(id);
  c.pc.restartIce();
  await c.pc.setLocalDescription(await c.pc.createOffer({ iceRestart: true }));
  await gathered(c.pc);
  const sdp = c.pc.localDescription.sdp;
  const line = (name, text = sdp) => text.match(new RegExp(`^a=${name}:(.*?)\\r?$`, "m"))[1];
  const mid = line("mid");
  const media = sdp.match(/^m=.*?\r?$/m)[0].trim();
  const candidates = [...sdp.split(/^m=/m)[1].matchAll(/^a=(candidate:.*?|end-of-candidates)\r?$/gm)].map((m) => `a=${m[1]}`);
  const fragment = [`a=ice-ufrag:${line("ice-ufrag")}`, `a=ice-pwd:${line("ice-pwd")}`, media, `a=mid:${mid}`, ...candidates, ""].join("\r\n");
  const response = await fetch(c.session, {
    method: "PATCH",
    headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"*"' },
    body: fragment,
  });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`PATCH: ${response.status} ${body}`);
  if (lost) return await c.pc.setLocalDescription({ type: "rollback" });
  const answer = c.answer
    .replace(/^a=ice-ufrag:.*$/gm, `a=ice-ufrag:${line("ice-ufrag", body)}`)
    .replace(/^a=ice-pwd:.*$/gm, `a=ice-pwd:${line("ice-pwd", body)}`);
  const oldEtag = c.etag;
  c.etag = response.headers.get("ETag");
  await c.pc.setRemoteDescription({ type: "answer", sdp: answer });
  return { oldEtag, etag: c.etag, body };
}

/** Asks for layers of the video, and waits until pictures of `width` come. Gives the status, and milliseconds or null. */
async function choose(id, wish, width, limit = 6000) {
  const c = clients.get(id);
  const mediaId = c.pc.getTransceivers().find((t) => t.receiver.track.kind === "video").mid;
  const at = now();
  const body = JSON.stringify({ mediaId, ...wish });
  const response = await fetch(`${c.session}/layer`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (response.status !== 200) return { status: response.status, ms: null };
  while (now() < at + limit) {
    if (c.element.videoWidth === width && c.frames.at(-1)?.[3] === width) return { status: 200, ms: now() - at };
    await sleep(5);
  }
  return { status: 200, ms: null, width: c.element.videoWidth };
}

/** Ends a client: DELETE of the session as a good client does, or a plain vanishing when `rude`. */
async function stop(id, rude) {
  const c = clients.get(id);
  clients.delete(id);
  let status = null;
  if (!rude && c.session) status = (await fetch(c.session, { method: "DELETE" })).status;
  c.pc.close();
  c.stop();
  return status;
}

window.e2e = { publish, encoded, talk, watch, slots, tone, report, clear, restartIce, choose, stop };
window.ready = true;
