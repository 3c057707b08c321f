// A publisher that behaves as OBS Studio does (it uses the same library, libdatachannel): the offer goes out before any
// candidate is known and nothing is trickled, H.264 under payload type 96 and Opus under 111, NACK and PLI but no RTX and no
// transport-wide feedback, one SSRC per kind; with three layers rids 0, 1, 2 (0 is the largest) and no ssrc lines.
//
//   node obs_client.mjs URL packets.bin --layers 1 --seconds 8 [--ignore-pli]
//
// Prints JSON lines: connected, playing (with the wall-clock of the file's start), and what the server asked for.
import { readFileSync } from "node:fs";
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import dc from "node-datachannel";

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: { layers: { type: "string", default: "1" }, seconds: { type: "string", default: "8" }, unnegotiatedRid: { type: "boolean", default: false } },
});
const [url, file] = positionals;
const layers = Number(args.layers);
const AUDIO = 255;
const MTU = 1200;
const MID = 1;
const RID = 2;
const say = (what) => console.log(JSON.stringify(what));
const now = () => performance.timeOrigin + performance.now();

function* records(buffer) {
  for (let at = 0; at < buffer.length; ) {
    const length = buffer.readUInt32BE(at + 5);
    yield { kind: buffer[at], ms: buffer.readUInt32BE(at + 1), data: buffer.subarray(at + 9, at + 9 + length) };
    at += 9 + length;
  }
}

/** NAL units of an Annex B access unit. */
function nals(data) {
  const starts = [];
  for (let i = 0; i + 3 <= data.length; i++) if (data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1) starts.push(i);
  return starts.map((start, i) => {
    let end = i + 1 < starts.length ? starts[i + 1] : data.length;
    while (i + 1 < starts.length && end > start && data[end - 1] === 0) end--;
    return data.subarray(start + 3, end);
  });
}

/** RFC 6184 payloads, mode 1: single NAL units and FU-A. */
function* payloads(unit) {
  for (const nal of nals(unit)) {
    if (nal.length <= MTU) {
      yield nal;
      continue;
    }
    for (let at = 1; at < nal.length; at += MTU - 2) {
      const piece = nal.subarray(at, at + MTU - 2);
      const flags = (at === 1 ? 0x80 : 0) | (at + piece.length >= nal.length ? 0x40 : 0);
      yield Buffer.concat([Buffer.from([(nal[0] & 0xe0) | 28, flags | (nal[0] & 0x1f)]), piece]);
    }
  }
}

/** One RTP stream: numbers its packets and makes its sender reports. */
class Stream {
  constructor(track, pt, clock, extensions) {
    Object.assign(this, { track, pt, clock, extensions, ssrc: randomInt(2 ** 32 - 1), seq: randomInt(2 ** 15), base: randomInt(2 ** 31), packets: 0, octets: 0 });
  }

  stamp(ms) {
    return (this.base + Math.round((ms * this.clock) / 1000)) >>> 0;
  }

  send(payload, ms, marker) {
    const extension = this.extensions.length > 0;
    const header = Buffer.alloc(12);
    header[0] = extension ? 0x90 : 0x80;
    header[1] = this.pt | (marker ? 0x80 : 0);
    header.writeUInt16BE(this.seq, 2);
    header.writeUInt32BE(this.stamp(ms), 4);
    header.writeUInt32BE(this.ssrc, 8);
    this.seq = (this.seq + 1) & 0xffff;
    this.packets++;
    this.octets += payload.length;
    // RFC 8285 section 4.2, one-byte form.
    let block = Buffer.alloc(0);
    if (extension) {
      const body = Buffer.concat(this.extensions.map(([id, text]) => Buffer.concat([Buffer.from([(id << 4) | (text.length - 1)]), Buffer.from(text)])));
      const words = Math.ceil(body.length / 4);
      block = Buffer.alloc(4 + words * 4);
      block.writeUInt16BE(0xbede, 0);
      block.writeUInt16BE(words, 2);
      body.copy(block, 4);
    }
    this.track.sendMessageBinary(Buffer.concat([header, block, payload]));
  }

  /** RFC 3550 section 6.4.1. */
  report(ms) {
    const sr = Buffer.alloc(28);
    const at = now();
    sr.set([0x80, 200, 0, 6]);
    sr.writeUInt32BE(this.ssrc, 4);
    sr.writeUInt32BE(Math.floor(at / 1000) + 2208988800, 8);
    sr.writeUInt32BE(Math.floor((at % 1000) * 4294967.296), 12);
    sr.writeUInt32BE(this.stamp(ms), 16);
    sr.writeUInt32BE(this.packets >>> 0, 20);
    sr.writeUInt32BE(this.octets >>> 0, 24);
    this.track.sendMessageBinary(sr);
  }
}

const [cname, msid] = ["obs-like-cname", "obs-like-stream"];
const pc = new dc.PeerConnection("obs", { iceServers: [], disableAutoNegotiation: true });
const audio = new dc.Audio("0", "SendOnly");
audio.addOpusCodec(111, "minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1");
const video = new dc.Video("1", "SendOnly");
video.addH264Codec(96, "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1");

const streams = [];
const audioTrack = (() => {
  const ssrc = randomInt(2 ** 32 - 1);
  audio.addSSRC(ssrc, cname, msid, `${msid}-audio`);
  const track = pc.addTrack(audio);
  streams.audio = new Stream(track, 111, 48000, []);
  streams.audio.ssrc = ssrc;
  return track;
})();
const videoSsrc = randomInt(2 ** 32 - 1);
if (layers === 1) video.addSSRC(videoSsrc, cname, msid, `${msid}-video`);
const videoTrack = pc.addTrack(video);
// OBS keeps the packets that it sent and resends them under the same SSRC when they are NACKed.
videoTrack.setMediaHandler(new dc.RtcpNackResponder(4000));
for (let i = 0; i < layers; i++) {
  const extensions = layers > 1 ? [[MID, "1"], [RID, String(i)]] : args.unnegotiatedRid ? [[MID, "1"], [RID, "0"]] : [];
  const stream = new Stream(videoTrack, 96, 90000, extensions);
  if (layers === 1) stream.ssrc = videoSsrc;
  streams.push(stream);
}

/** The library's offer with the lines that OBS puts in and without what OBS leaves out. */
function asObs(sdp) {
  let lines = sdp.split("\r\n").filter((l) => !/^a=(candidate|end-of-candidates)/.test(l));
  const at = lines.findIndex((l) => l === "a=mid:1");
  lines.splice(at + 1, 0, `a=extmap:${MID} urn:ietf:params:rtp-hdrext:sdes:mid`, `a=extmap:${RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`);
  if (layers > 1) {
    const rids = streams.map((_, i) => i);
    const after = lines.findIndex((l, i) => i > at && l === "a=sendonly");
    lines.splice(after + 1, 0, `a=msid:${msid} ${msid}-video`, ...rids.map((i) => `a=rid:${i} send`), `a=simulcast:send ${rids.join(";")}`);
  }
  return lines.join("\r\n");
}

const asked = { pli: 0, fir: 0, nack: 0 };
videoTrack.onMessage((message) => {
  for (let at = 0; at + 4 <= message.length; at += 4 * (message.readUInt16BE(at + 2) + 1)) {
    const [format, type] = [message[at] & 31, message[at + 1]];
    if (type === 206 && format === 1) asked.pli++;
    if (type === 206 && format === 4) asked.fir++;
    if (type === 205 && format === 1) asked.nack++;
  }
});

pc.setLocalDescription("offer");
const offer = asObs(pc.localDescription().sdp);
const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer });
const answer = await response.text();
if (response.status !== 201) {
  say({ event: "refused", status: response.status, body: answer, offer });
  process.exit(1);
}
const session = new URL(response.headers.get("location"), url).href;
if (layers > 1) {
  const line = answer.match(/^a=simulcast:recv (.*?)\r?$/m);
  if (!line || line[1].split(";").length !== layers) {
    say({ event: "refused", error: `the answer's simulcast line does not name ${layers} layers`, answer });
    process.exit(1);
  }
}
const open = new Promise((resolve, reject) => {
  pc.onStateChange((state) => {
    say({ event: state, at: now(), session });
    if (state === "connected") resolve();
    if (state === "failed") reject(new Error("connection failed"));
  });
});
pc.setRemoteDescription(answer, "answer");
await open;
while (!audioTrack.isOpen() || !videoTrack.isOpen()) await new Promise((r) => setTimeout(r, 5));

const begin = now();
say({ event: "playing", at: begin });
let reported = -1000;
for (const { kind, ms, data } of records(readFileSync(file))) {
  if (ms > Number(args.seconds) * 1000) break;
  const wait = begin + ms - now();
  if (wait > 0) await new Promise((r) => setTimeout(r, wait));
  if (kind === AUDIO) {
    streams.audio.send(data, ms, false);
  } else if (kind < layers) {
    const all = [...payloads(data)];
    all.forEach((payload, i) => streams[kind].send(payload, ms, i === all.length - 1));
  }
  if (ms - reported >= 1000) {
    reported = ms;
    for (const stream of [streams.audio, ...streams]) stream.report(ms);
  }
}
// OBS closes first and deletes afterwards.
pc.close();
const gone = await fetch(session, { method: "DELETE" });
say({ event: "deleted", status: gone.status, asked });
dc.cleanup();
process.exit(0);
