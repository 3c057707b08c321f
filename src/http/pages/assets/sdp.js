// Pure functions over the text of WHIP and WHEP: SDP, trickle fragments and links.

/** The `Link` header (RFC 8288) as a list of {target, rel, …parameters}. */
export function parseLinks(header) {
  const links = [];
  const item = /<([^>]*)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^",;\s]*))?)*)/g;
  for (const [, target, parameters] of (header || '').matchAll(item)) {
    const link = { target };
    for (const [, name, quoted, bare] of parameters.matchAll(/;\s*([\w*-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*)))?/g)) {
      link[name.toLowerCase()] = quoted !== undefined ? quoted.replace(/\\(.)/g, '$1') : (bare ?? '');
    }
    links.push(link);
  }
  return links;
}

/** ICE servers among the links (RFC 9725 §4.6). */
export function iceServersOf(links) {
  return links.filter((link) => link.rel === 'ice-server').map((link) => ({
    urls: link.target,
    ...(link.username !== undefined && { username: link.username, credential: link.credential ?? '' }),
  }));
}

/** Appends parameters to the fmtp line of every Opus payload type of an SDP; those that are there stay. */
export function withOpusParameters(sdp, parameters) {
  for (const [, pt] of sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000\/2\r?$/gim)) {
    const line = new RegExp(`^a=fmtp:${pt} ([^\\r\\n]*)`, 'm');
    const have = sdp.match(line)?.[1];
    const add = Object.entries(parameters)
      .filter(([name]) => !new RegExp(`(^|;)\\s*${name}=`).test(have ?? ''))
      .map(([name, value]) => `${name}=${value}`).join(';');
    if (!add) continue;
    sdp = have === undefined
      ? sdp.replace(new RegExp(`^(a=rtpmap:${pt} [^\\r\\n]*\\r?\\n)`, 'm'), `$1a=fmtp:${pt} ${add}\r\n`)
      : sdp.replace(line, `a=fmtp:${pt} ${have};${add}`);
  }
  return sdp;
}

const firstLine = (sdp, name) => sdp.match(new RegExp(`^a=${name}:([^\\r\\n]*)`, 'm'))?.[1];

/** A trickle fragment (RFC 8840 §9, RFC 9725 §4.3.2) for the BUNDLE section of `sdp`. */
export function fragment(sdp, candidates, end) {
  const media = sdp.match(/^m=[^\r\n]*/m)?.[0] ?? 'm=audio 9 UDP/TLS/RTP/SAVPF 0';
  const group = sdp.match(/^a=group:BUNDLE[^\r\n]*/m)?.[0];
  return [
    ...(group ? [group] : []),
    media.replace(/^(m=\w+) \d+/, '$1 9'),
    `a=mid:${firstLine(sdp, 'mid') ?? '0'}`,
    `a=ice-ufrag:${firstLine(sdp, 'ice-ufrag')}`,
    `a=ice-pwd:${firstLine(sdp, 'ice-pwd')}`,
    ...candidates.map((candidate) => `a=${candidate}`),
    ...(end ? ['a=end-of-candidates'] : []),
    '',
  ].join('\r\n');
}

/** The old answer with the ICE credentials and candidates of a restart's reply; null when the reply has none. */
export function restartedAnswer(sdp, reply) {
  const ufrag = firstLine(reply, 'ice-ufrag');
  const pwd = firstLine(reply, 'ice-pwd');
  if (!ufrag || !pwd) return null;
  const candidates = [...reply.matchAll(/^a=candidate:[^\r\n]*/gm)].map(([line]) => line);
  let out = sdp
    .replace(/^a=ice-ufrag:[^\r\n]*/gm, `a=ice-ufrag:${ufrag}`)
    .replace(/^a=ice-pwd:[^\r\n]*/gm, `a=ice-pwd:${pwd}`)
    .replace(/^(o=\S+ \S+ )(\d+)/m, (_, head, version) => `${head}${BigInt(version) + 1n}`);
  if (candidates.length > 0) {
    out = out.replace(/^a=candidate:[^\r\n]*\r?\n/gm, '').replace(/^a=end-of-candidates\r?\n/gm, '');
    const mid = out.indexOf('\na=mid:');
    const after = out.indexOf('\n', mid + 1) + 1;
    out = `${out.slice(0, after)}${candidates.join('\r\n')}\r\n${out.slice(after)}`;
  }
  return out;
}
