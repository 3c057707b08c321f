// The built-in test pattern: colour bars, something that moves, a clock for people, and a code for machines.
//
// The code is two rows of square black and white blocks in the top left corner of the picture. The edge of a block is the
// picture's width / 80 (16 px at 1280), so it can be read at any scale: block (row, column) has its centre at
// ((column + 0.5) * width / 80, (row + 0.5) * width / 80). White is 1, black is 0, the most significant bit comes first:
//
//   row 0: columns 0–7 sync 10101100, 8–39 frame counter (32 bit), 40–47 check
//   row 1: columns 0–47 wall clock when the frame was drawn, ms since 1970 (48 bit)
//
// check is the XOR of the four bytes of the counter and the six bytes of the clock. The tone is 440 Hz on the left
// and 660 Hz on the right.

const COLUMNS = 48;
const PER_WIDTH = 80;
const SYNC = 0b10101100;
const BARS = ['#c0c0c0', '#c0c000', '#00c0c0', '#00c000', '#c000c0', '#c00000', '#0000c0'];

function bytesOf(counter, clock) {
  return [
    (counter >>> 24) & 255, (counter >>> 16) & 255, (counter >>> 8) & 255, counter & 255,
    ...[40, 32, 24, 16, 8, 0].map((shift) => Math.floor(clock / 2 ** shift) % 256),
  ];
}

/** Draws and plays the pattern. `stream` has a video track and, with sound, an audio track. */
export class TestPattern {
  #canvas = document.createElement('canvas');
  #context;
  #background;
  #worker;
  #track;
  #audio = null;
  #fps;

  constructor({ width = 1280, height = 720, fps = 30, sound = true, label = '' } = {}) {
    this.#fps = fps;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#context = this.#canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    this.#background = this.#bars(width, height, label);
    /** Counter of the newest frame. */
    this.counter = 0;
    this.#draw();
    this.stream = this.#canvas.captureStream(0);
    [this.#track] = this.stream.getVideoTracks();
    if (!this.#track.requestFrame) { // Firefox keeps requestFrame on the stream
      this.#track.requestFrame = () => this.stream.requestFrame?.();
    }
    if (sound) this.#tone();
    this.#worker = new Worker('/assets/ticker.js');
    this.#worker.onmessage = () => { this.#draw(); this.#track.requestFrame(); };
    this.#worker.postMessage(fps);
  }

  #bars(width, height, label) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext('2d', { alpha: false });
    BARS.forEach((colour, index) => {
      context.fillStyle = colour;
      context.fillRect(Math.floor((index * width) / BARS.length), 0, Math.ceil(width / BARS.length), Math.ceil(height * 0.72));
    });
    context.fillStyle = '#10161a';
    context.fillRect(0, Math.floor(height * 0.72), width, height);
    context.fillStyle = '#fff';
    context.font = `600 ${Math.round(width / 40)}px system-ui, sans-serif`;
    context.textBaseline = 'middle';
    context.textAlign = 'center';
    context.fillText(label, width / 2, height * 0.93, width / 2);
    return canvas;
  }

  #draw() {
    const context = this.#context;
    const { width, height } = this.#canvas;
    const clock = Date.now();
    this.counter = (this.counter + 1) >>> 0;
    context.drawImage(this.#background, 0, 0);

    const radius = width / 26;
    const turn = ((clock % 4000) / 4000) * 2;
    const x = radius + (width - 2 * radius) * (turn < 1 ? turn : 2 - turn);
    context.fillStyle = '#fff';
    context.beginPath();
    context.arc(x, height * 0.5 + Math.sin((clock / 700) % (2 * Math.PI)) * height * 0.14, radius, 0, 2 * Math.PI);
    context.fill();

    context.font = `600 ${Math.round(width / 22)}px ui-monospace, monospace`;
    context.textBaseline = 'middle';
    context.fillText(new Date(clock).toISOString().slice(11, 23), width / 40, height * 0.81);
    context.textAlign = 'right';
    context.fillText(`#${this.counter}`, width - width / 40, height * 0.81);
    context.textAlign = 'left';
    this.#code(this.counter, clock);
  }

  #code(counter, clock) {
    const bytes = bytesOf(counter, clock);
    const check = bytes.reduce((all, byte) => all ^ byte, 0);
    const rows = [[SYNC, ...bytes.slice(0, 4), check], bytes.slice(4)];
    const edge = this.#canvas.width / PER_WIDTH;
    const context = this.#context;
    context.fillStyle = '#000';
    context.fillRect(0, 0, COLUMNS * edge, 2 * edge);
    context.fillStyle = '#fff';
    rows.forEach((row, y) => row.forEach((byte, index) => {
      for (let bit = 0; bit < 8; bit += 1) {
        if (byte & (128 >> bit)) context.fillRect((index * 8 + bit) * edge, y * edge, edge, edge);
      }
    }));
  }

  #tone() {
    const audio = new AudioContext({ sampleRate: 48000 });
    const merge = audio.createChannelMerger(2);
    [440, 660].forEach((frequency, channel) => {
      const oscillator = audio.createOscillator();
      const gain = audio.createGain();
      oscillator.frequency.value = frequency;
      gain.gain.value = 0.1;
      oscillator.connect(gain).connect(merge, 0, channel);
      oscillator.start();
    });
    const out = audio.createMediaStreamDestination();
    out.channelCount = 2;
    merge.connect(out);
    for (const track of out.stream.getAudioTracks()) this.stream.addTrack(track);
    if (audio.state === 'suspended') {
      const resume = () => audio.resume();
      addEventListener('pointerdown', resume, { once: true });
      addEventListener('keydown', resume, { once: true });
      audio.resume().catch(() => {});
    }
    this.#audio = audio;
  }

  get fps() {
    return this.#fps;
  }

  stop() {
    this.#worker.terminate();
    for (const track of this.stream.getTracks()) track.stop();
    this.#audio?.close();
  }
}

let reader = null;

/** Reads the code from a playing video: {counter, clock} (clock in ms since 1970), or null when there is none to read. */
export function readPattern(video) {
  const width = video.videoWidth;
  if (!width || video.readyState < 2) return null;
  const edge = width / PER_WIDTH;
  const columns = Math.ceil(COLUMNS * edge);
  const rows = Math.ceil(2 * edge);
  if (!reader) reader = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  if (reader.canvas.width < columns || reader.canvas.height < rows) {
    reader.canvas.width = columns;
    reader.canvas.height = rows;
  }
  reader.drawImage(video, 0, 0, columns, rows, 0, 0, columns, rows);
  const { data } = reader.getImageData(0, 0, columns, rows);
  const bytes = [];
  for (let row = 0; row < 2; row += 1) {
    for (let index = 0; index < COLUMNS / 8; index += 1) {
      let byte = 0;
      for (let bit = 0; bit < 8; bit += 1) {
        const x = Math.floor((index * 8 + bit + 0.5) * edge);
        const y = Math.floor((row + 0.5) * edge);
        byte = byte * 2 + (data[(y * columns + x) * 4 + 1] > 127 ? 1 : 0);
      }
      bytes.push(byte);
    }
  }
  const [sync, c0, c1, c2, c3, check, ...clock] = bytes;
  const sum = [c0, c1, c2, c3, ...clock].reduce((all, byte) => all ^ byte, 0);
  if (sync !== SYNC || sum !== check) return null;
  return {
    counter: ((c0 << 24) | (c1 << 16) | (c2 << 8) | c3) >>> 0,
    clock: clock.reduce((all, byte) => all * 256 + byte, 0),
  };
}
