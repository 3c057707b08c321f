// Turns RTCPeerConnection.getStats() into the few numbers that people and tests look at.

/**
 * Reads one peer connection again and again; rates and shares are over the time between two reads.
 * `read()` gives {at, rtt, path, outbound: [...], inbound: [...]}; bitrates are in bit/s, times in ms, loss is 0 to 1,
 * and what the browser does not tell is null.
 */
export class StatsReader {
  #pc;
  #before = new Map();
  #pixels = new Map();

  constructor(pc) {
    this.#pc = pc;
  }

  async read() {
    const report = await this.#pc.getStats();
    const out = { at: Date.now(), rtt: null, path: null, available: null, outbound: [], inbound: [] };
    let pair = null;
    for (const entry of report.values()) {
      if (entry.type === 'transport' && entry.selectedCandidatePairId) pair = report.get(entry.selectedCandidatePairId);
    }
    for (const entry of report.values()) {
      if (!pair && entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') pair = entry;
      // A simulcast layer that the server did not take stays in the report and never sends.
      if (entry.type === 'outbound-rtp' && (entry.active !== false || entry.bytesSent > 0)) out.outbound.push(this.#outbound(report, entry));
      if (entry.type === 'inbound-rtp') out.inbound.push(this.#inbound(report, entry));
    }
    if (pair) {
      const local = report.get(pair.localCandidateId);
      const remote = report.get(pair.remoteCandidateId);
      out.rtt = ms(pair.currentRoundTripTime);
      out.available = pair.availableOutgoingBitrate ?? null;
      out.path = remote ? `${(local?.relayProtocol ?? remote.protocol ?? '').toUpperCase()} ${remote.address ?? ''}:${remote.port ?? ''}` : null;
    }
    // A paused layer has no size: it keeps its place by the largest it had.
    const pixels = (row) => this.#pixels.get(row.ssrc) ?? 0;
    for (const row of out.outbound) this.#pixels.set(row.ssrc, Math.max(pixels(row), (row.width ?? 0) * (row.height ?? 0)));
    out.outbound.sort((a, b) => a.kind.localeCompare(b.kind) * -1 || pixels(b) - pixels(a) || String(b.rid).localeCompare(String(a.rid)));
    out.inbound.sort((a, b) => a.kind.localeCompare(b.kind) * -1);
    return out;
  }

  /** How far named counters went since the last read, and over how many seconds; null at the first read. */
  #delta(entry, names) {
    const before = this.#before.get(entry.id);
    this.#before.set(entry.id, entry);
    if (!before || entry.timestamp <= before.timestamp) return null;
    const delta = { seconds: (entry.timestamp - before.timestamp) / 1000 };
    for (const name of names) delta[name] = (entry[name] ?? 0) - (before[name] ?? 0);
    return delta;
  }

  #outbound(report, entry) {
    const codec = report.get(entry.codecId);
    const remote = report.get(entry.remoteId)
      ?? [...report.values()].find((other) => other.type === 'remote-inbound-rtp' && other.ssrc === entry.ssrc);
    const delta = this.#delta(entry, ['bytesSent', 'retransmittedBytesSent', 'framesEncoded']);
    return {
      kind: entry.kind,
      rid: entry.rid ?? null,
      ssrc: entry.ssrc,
      active: entry.active !== false,
      codec: codecName(codec),
      profile: codec?.sdpFmtpLine ?? null,
      width: entry.frameWidth ?? null,
      height: entry.frameHeight ?? null,
      fps: entry.framesPerSecond ?? (delta && entry.kind === 'video' ? Math.round(delta.framesEncoded / delta.seconds) : null),
      bitrate: delta ? Math.max(0, ((delta.bytesSent - delta.retransmittedBytesSent) * 8) / delta.seconds) : null,
      // Repairs, and old packets that the browser sends again to probe the network.
      repeated: delta ? Math.max(0, (delta.retransmittedBytesSent * 8) / delta.seconds) : null,
      target: entry.targetBitrate ?? null,
      limitation: entry.qualityLimitationReason ?? null,
      encoder: entry.encoderImplementation ?? null,
      scalability: entry.scalabilityMode ?? null,
      packets: entry.packetsSent ?? 0,
      frames: entry.framesEncoded ?? null,
      keyframes: entry.keyFramesEncoded ?? null,
      nacks: entry.nackCount ?? 0,
      plis: entry.pliCount ?? 0,
      loss: remote?.fractionLost ?? null,
      rtt: ms(remote?.roundTripTime),
      jitter: ms(remote?.jitter),
    };
  }

  #inbound(report, entry) {
    const delta = this.#delta(entry, [
      'bytesReceived', 'packetsReceived', 'packetsLost', 'framesDecoded', 'jitterBufferDelay', 'jitterBufferEmittedCount',
      'concealedSamples', 'totalSamplesReceived',
    ]);
    const expected = delta ? delta.packetsReceived + delta.packetsLost : 0;
    return {
      kind: entry.kind,
      ssrc: entry.ssrc,
      codec: codecName(report.get(entry.codecId)),
      profile: report.get(entry.codecId)?.sdpFmtpLine ?? null,
      width: entry.frameWidth ?? null,
      height: entry.frameHeight ?? null,
      fps: entry.framesPerSecond ?? (delta && entry.kind === 'video' ? Math.round(delta.framesDecoded / delta.seconds) : null),
      bitrate: delta ? Math.max(0, (delta.bytesReceived * 8) / delta.seconds) : null,
      loss: expected > 0 ? Math.max(0, delta.packetsLost) / expected : null,
      arrived: delta ? delta.packetsReceived : 0,
      packets: entry.packetsReceived ?? 0,
      lost: entry.packetsLost ?? 0,
      jitter: ms(entry.jitter),
      buffer: delta && delta.jitterBufferEmittedCount > 0 ? ms(delta.jitterBufferDelay / delta.jitterBufferEmittedCount) : null,
      decoded: entry.framesDecoded ?? null,
      dropped: entry.framesDropped ?? null,
      freezes: entry.freezeCount ?? null,
      keyframes: entry.keyFramesDecoded ?? null,
      nacks: entry.nackCount ?? 0,
      plis: entry.pliCount ?? 0,
      decoder: entry.decoderImplementation ?? null,
      concealed: delta && delta.totalSamplesReceived > 0 ? delta.concealedSamples / delta.totalSamplesReceived : null,
      level: entry.audioLevel ?? null,
    };
  }
}

const ms = (seconds) => (Number.isFinite(seconds) ? seconds * 1000 : null);
const codecName = (codec) => codec?.mimeType?.split('/')[1] ?? null;

const CODECS = { H264: 'H.264', H265: 'H.265', HEVC: 'H.265', G722: 'G.722', OPUS: 'Opus', RED: 'Opus (RED)' };

/** A codec's name as people write it; a dash without one. */
export const codecLabel = (name) => (name ? CODECS[name.toUpperCase()] ?? name.toUpperCase() : '–');

/** `1.5 Mbit/s`; a dash for what is not known. */
export function bitrateText(bps) {
  if (bps === null || bps === undefined) return '–';
  if (bps >= 999500) return `${(bps / 1e6).toFixed(bps >= 9.95e6 ? 0 : 1)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}

export const sizeText = (row) => (row?.width && row?.height ? `${row.width}×${row.height}` : '–');
export const fpsText = (fps) => (Number.isFinite(fps) ? `${Math.round(fps)} fps` : '–');
export const msText = (value) => (Number.isFinite(value) ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : '–');
export const shareText = (value) => (Number.isFinite(value) ? `${(value * 100).toFixed(1)} %` : '–');
