// A worker that ticks: timers of a page in the background run once a second at best, a worker's keep time.
let timer = 0;
onmessage = ({ data: fps }) => {
  clearInterval(timer);
  if (fps > 0) timer = setInterval(() => postMessage(0), 1000 / fps);
};
