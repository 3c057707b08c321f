// The test picture. It says which frame it is and when it was drawn, in blocks large enough to survive any encoder:
//
//   row 0: sync 1 0 1 0 1 1 0 0, a 32-bit frame counter, a check byte
//   row 1: 48 bits: milliseconds since the Unix epoch when the frame was drawn
//
// White is 1 and black is 0, the most significant bit comes first. The check byte is the XOR of the four bytes of the counter
// and the six of the clock. A picture is COLUMNS blocks wide, so a block is 16 px at 1280x720 and 8 px at 640x360, and a
// scaled layer is read the same way. The server's publish page draws the same code.
export const COLUMNS = 80;
const SYNC = 0b10101100;
const BITS = 48;

function bytes(value, count) {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 256 ** (count - 1 - i)) % 256);
}

const xor = (values) => values.reduce((a, b) => a ^ b, 0);

/** Draws frame `counter` with the wall-clock `ms` on a 2D context of the given size. */
export function draw(ctx, width, height, counter, ms) {
  const block = width / COLUMNS;
  ctx.fillStyle = `hsl(${(counter * 3) % 360} 40% 35%)`;
  ctx.fillRect(0, 0, width, height);
  ctx.fillStyle = "#ccc";
  ctx.fillRect((counter * 7) % width, height / 3, block * 4, height / 3);
  const [c, m] = [bytes(counter, 4), bytes(ms, 6)];
  [[SYNC, ...c, xor([...c, ...m])], m].forEach((row, y) => {
    for (let x = 0; x < BITS; x++) {
      ctx.fillStyle = row[x >> 3] & (128 >> (x & 7)) ? "#fff" : "#000";
      ctx.fillRect(x * block, y * block, block, block);
    }
  });
}

const tenth = (ms) => Math.round(ms * 10) / 10;

/** Reads pictures with one small canvas of its own. */
export class Reader {
  constructor() {
    this.scale = 4;
    this.canvas = document.createElement("canvas");
    this.canvas.width = BITS * this.scale;
    this.canvas.height = 2 * this.scale;
    this.ctx = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  /** `{counter, ms}` of a picture `width` pixels wide, or null where the code does not read. */
  read(source, width) {
    const { scale, canvas } = this;
    const block = width / COLUMNS;
    this.ctx.drawImage(source, 0, 0, BITS * block, 2 * block, 0, 0, canvas.width, canvas.height);
    const { data } = this.ctx.getImageData(0, 0, canvas.width, canvas.height);
    const value = (row, from, count) => {
      let v = 0;
      for (let i = from; i < from + count; i++) {
        let sum = 0;
        for (const dy of [1, 2]) {
          for (const dx of [1, 2]) sum += data[((row * scale + dy) * canvas.width + i * scale + dx) * 4 + 1];
        }
        v = v * 2 + (sum / 4 > 127 ? 1 : 0);
      }
      return v;
    };
    const [counter, ms] = [value(0, 8, 32), value(1, 0, 48)];
    if (value(0, 0, 8) !== SYNC || value(0, 40, 8) !== xor([...bytes(counter, 4), ...bytes(ms, 6)])) return null;
    return { counter, ms };
  }
}

/**
 * Notes every picture that `element` shows in `log`: [counter, stamp, seen at, width, presented at], the sizes, and what did not
 * read. A busy page sees late what was presented in time.
 */
export function observe(element, log) {
  const reader = new Reader();
  const onFrame = (_, { presentationTime }) => {
    const at = performance.timeOrigin + performance.now();
    log.firstAt ??= at;
    const size = `${element.videoWidth}x${element.videoHeight}`;
    log.sizes[size] = (log.sizes[size] ?? 0) + 1;
    const seen = reader.read(element, element.videoWidth);
    if (seen) log.frames.push([seen.counter, seen.ms, tenth(at), element.videoWidth, tenth(performance.timeOrigin + presentationTime)]);
    else log.unreadable++;
    element.requestVideoFrameCallback(onFrame);
  };
  element.requestVideoFrameCallback(onFrame);
}
