// Sources of a publisher: camera, screen, test pattern; devices and codecs to choose from.

import { TestPattern } from './pattern.js';
import { Problem } from './whip-whep.js';

const HELPERS = /\/(rtx|red|ulpfec|flexfec)/i;

/** Video codecs this browser can send, each once: `VP8`, `H264`, … */
export function sendableCodecs() {
  const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  return [...new Set(codecs.filter(({ mimeType }) => !HELPERS.test(mimeType)).map(({ mimeType }) => mimeType.split('/')[1]))];
}

/** For `setCodecPreferences`: only this codec, with its repair formats; null leaves the browser's order. */
export function onlyCodec(name) {
  if (name === 'auto') return null;
  const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  const wanted = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`);
  return wanted.length > 0 ? [...wanted, ...codecs.filter(({ mimeType }) => HELPERS.test(mimeType))] : null;
}

/** Cameras and microphones; labels stay empty until the user has allowed one. */
export async function devices() {
  const list = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const of = (kind) => list.filter((device) => device.kind === kind && device.deviceId);
  return { cameras: of('videoinput'), microphones: of('audioinput') };
}

const microphone = ({ microphone: id, stereo }) => ({
  ...(id && { deviceId: { exact: id } }),
  ...(stereo
    ? { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 2 }
    : { echoCancellation: true, noiseSuppression: true, autoGainControl: true }),
});

/** Opens a source. Gives {stream, pattern}; throws a `Problem` in plain words. */
export async function open(settings) {
  const { source, width, height, fps, sound, label } = settings;
  if (source === 'pattern') {
    const pattern = new TestPattern({ width, height, fps, sound, label });
    return { stream: pattern.stream, pattern };
  }
  if (!navigator.mediaDevices) {
    throw new Problem({
      title: 'This page may not use camera or screen',
      detail: 'Browsers allow that on https and on localhost only. The test pattern works here too.',
    });
  }
  const size = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: fps, max: fps } };
  try {
    const stream = source === 'screen' ? await screen(settings, size) : await navigator.mediaDevices.getUserMedia({
      video: { ...size, ...(settings.camera && { deviceId: { exact: settings.camera } }) },
      audio: sound ? microphone(settings) : false,
    });
    for (const track of stream.getVideoTracks()) {
      if ('contentHint' in track) track.contentHint = source === 'screen' ? 'detail' : 'motion';
    }
    for (const track of stream.getAudioTracks()) {
      if ('contentHint' in track) track.contentHint = settings.stereo ? 'music' : 'speech';
    }
    return { stream, pattern: null };
  } catch (error) {
    throw plain(error, source);
  }
}

/** The screen with its own sound where the browser gives it, else with the microphone. */
async function screen(settings, size) {
  if (!navigator.mediaDevices.getDisplayMedia) {
    throw new Problem({ title: 'This browser can’t share its screen', detail: 'Choose the camera or the test pattern.' });
  }
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: size, audio: settings.sound });
  if (settings.sound && stream.getAudioTracks().length === 0) {
    try {
      const voice = await navigator.mediaDevices.getUserMedia({ audio: microphone(settings) });
      for (const track of voice.getAudioTracks()) stream.addTrack(track);
    } catch (error) {
      console.warn('weir: sharing the screen without sound', error.name);
    }
  }
  return stream;
}

function plain(error, source) {
  if (error instanceof Problem) return error;
  const what = source === 'screen' ? 'The screen' : 'Camera or microphone';
  const words = {
    NotAllowedError: [`${what} was not allowed`, 'Allow it in the browser’s site settings and press Start again.'],
    NotFoundError: ['No camera or microphone found', 'Connect one, switch Sound off, or choose another source.'],
    NotReadableError: [`${what} is busy`, 'Another program may be using it.'],
    OverconstrainedError: ['This device is not there any more', 'Choose another one.'],
    AbortError: [`${what} stopped working`, 'Press Start to try again.'],
  };
  const [title, detail] = words[error.name] ?? [`${what} can’t be opened`, error.message];
  return new Problem({ title, detail });
}

/** `sendEncodings` for a picture of this height: one, or with simulcast two or three, the smallest first. */
export function encodings({ simulcast, height, fps, bitrate }) {
  if (!simulcast) return [{ maxBitrate: bitrate, maxFramerate: fps }];
  const layers = height >= 540 ? [['l', 4, 0.08], ['m', 2, 0.27], ['h', 1, 0.65]] : [['l', 2, 0.3], ['h', 1, 0.7]];
  return layers.map(([rid, scale, share]) => ({
    rid, scaleResolutionDownBy: scale, maxBitrate: Math.round(bitrate * share), maxFramerate: fps, scalabilityMode: 'L1T1',
  }));
}
