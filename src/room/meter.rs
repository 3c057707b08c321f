//! What each choice of an encoding's layers takes to send.

use std::time::{Duration, Instant};

use crate::codec::{Cell, FrameLayers, Grid, PacketInfo};
use crate::units::Bitrate;

const CELLS: usize = 16;

/// Windows shorter than this measure nothing.
const LEAST: Duration = Duration::from_millis(200);

/// Share of the newest second in a moving rate: a keyframe in it must not look
/// like a stream that has grown.
const WEIGHT: f64 = 0.4;

/// A layer is gone after this many windows without a frame: slow screen
/// shares have none in a second.
const QUIET: u8 = 3;

/// Counters of one cell since the last roll.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    bytes: u64,
    /// Pictures that its receiver sees.
    frames: u32,
    /// Frames of just its spatial and temporal layer.
    own: u32,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct LayerMeter {
    counts: [Count; CELLS],
    rates: [f64; CELLS],
    frame_rates: [f32; CELLS],
    /// Windows in which a cell's own layer sent nothing.
    quiet: [u8; CELLS],
    since: Option<Instant>,
    measured: bool,
}

impl LayerMeter {
    /// Starts over: the stream's layers are others.
    pub fn reset(&mut self, now: Instant) {
        *self = Self {
            since: Some(now),
            ..Self::default()
        };
    }

    /// Counts a packet of a layered stream.
    #[inline]
    pub fn count(&mut self, grid: &Grid, layers: &FrameLayers, info: &PacketInfo, bytes: usize) {
        let own = Cell::new(info.spatial, info.temporal);
        let mut mask = layers.present & grid.known;
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let count = &mut self.counts[at];
            count.bytes += bytes as u64;
            let shown = info.starts_frame && at / 4 == usize::from(own.spatial());
            count.frames += u32::from(shown);
        }
        if info.starts_frame {
            self.counts[own.index()].own += 1;
        }
    }

    /// Ends a window.
    pub fn roll(&mut self, now: Instant) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < LEAST {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        for at in 0..CELLS {
            let count = std::mem::take(&mut self.counts[at]);
            let rate = count.bytes as f64 * 8.0 / seconds;
            self.rates[at] = if self.measured && self.rates[at] > 0.0 {
                self.rates[at] + (rate - self.rates[at]) * WEIGHT
            } else {
                rate
            };
            self.frame_rates[at] = count.frames as f32 / elapsed.as_secs_f32();
            self.quiet[at] = match count.own {
                0 => self.quiet[at].saturating_add(1),
                _ => 0,
            };
        }
        self.since = Some(now);
        self.measured = true;
    }

    /// The cells whose own layer is being sent; all while nothing was measured.
    pub fn active(&self) -> u16 {
        (0..CELLS)
            .filter(|at| self.quiet[*at] < QUIET)
            .fold(0, |mask, at| mask | 1 << at)
    }

    /// What a cell takes; zero while it is not measured.
    pub fn bitrate(&self, cell: Cell) -> Bitrate {
        Bitrate(self.rates[cell.index()] as u64)
    }

    /// Pictures per second of a cell.
    pub fn frame_rate(&self, cell: Cell) -> f32 {
        self.frame_rates[cell.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    #[test]
    fn a_cell_takes_what_it_and_those_below_it_take() {
        let start = Instant::now();
        let grid = Grid::of_ids(1, 1);
        let mut meter = LayerMeter::default();
        meter.reset(start);
        for picture in 0..30u8 {
            for spatial in 0..2 {
                let info = PacketInfo {
                    spatial,
                    temporal: picture % 2,
                    starts_frame: true,
                    ..PacketInfo::default()
                };
                let layers = FrameLayers::from_ids(Codec::Vp9, &info);
                meter.count(&grid, &layers, &info, 1000 * (1 + usize::from(spatial)));
            }
        }
        assert_eq!(meter.active(), u16::MAX);
        meter.roll(start + Duration::from_secs(1));
        let rate = |s, t| meter.bitrate(Cell::new(s, t)).0;
        assert_eq!(rate(0, 0), 15 * 8000);
        assert_eq!(rate(0, 1), 30 * 8000);
        assert_eq!(rate(1, 0), 15 * 24_000);
        assert_eq!(rate(1, 1), 30 * 24_000);
        assert_eq!(meter.frame_rate(Cell::new(1, 0)), 15.0);
        assert_eq!(meter.frame_rate(Cell::new(0, 1)), 30.0);
        for second in 2..6 {
            meter.roll(start + Duration::from_secs(second));
            let some = if second < 4 { grid.known } else { 0 };
            assert_eq!(meter.active() & grid.known, some, "{second}");
        }
    }
}
