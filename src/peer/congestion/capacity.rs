//! What the path took when it was full: mean and spread of the rates that
//! arrived during over-use (draft-ietf-rmcat-gcc-02 §5.5, constants of libwebrtc).

/// Weight of a new value.
const WEIGHT: f64 = 0.05;

/// Bounds of the normalised variance, in kbit/s.
const VARIANCE: (f64, f64) = (0.4, 2.5);

/// The first value's, in kbit/s.
const FIRST_VARIANCE: f64 = 0.4;

/// See the module's description.
#[derive(Debug, Default)]
pub struct LinkCapacity {
    /// Mean in kbit/s and normalised variance.
    known: Option<(f64, f64)>,
}

impl LinkCapacity {
    /// Takes the rate in bits per second that arrived during over-use.
    pub fn add(&mut self, rate: f64) {
        let rate = rate / 1000.0;
        let Some((mean, variance)) = self.known else {
            self.known = Some((rate, FIRST_VARIANCE));
            return;
        };
        let mean = (1.0 - WEIGHT) * mean + WEIGHT * rate;
        let error = mean - rate;
        let variance = (1.0 - WEIGHT) * variance + WEIGHT * error * error / mean.max(1.0);
        self.known = Some((mean, variance.clamp(VARIANCE.0, VARIANCE.1)));
    }

    /// The path changed.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// The least it may be, three deviations below the mean.
    pub fn lower(&self) -> Option<f64> {
        self.bounds()
            .map(|(mean, spread)| (mean - spread).max(0.0) * 1000.0)
    }

    /// The most it may be.
    pub fn upper(&self) -> Option<f64> {
        self.bounds().map(|(mean, spread)| (mean + spread) * 1000.0)
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.known
            .map(|(mean, variance)| (mean, 3.0 * (variance * mean).sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_values_give_narrow_bounds_around_them() {
        let mut capacity = LinkCapacity::default();
        assert_eq!(capacity.lower(), None);
        for rate in [1.0e6, 1.02e6, 0.98e6, 1.0e6] {
            capacity.add(rate);
        }
        let (lower, upper) = (capacity.lower().unwrap(), capacity.upper().unwrap());
        assert!(lower > 0.9e6 && lower < 1e6, "{lower}");
        assert!(upper < 1.1e6 && upper > 1e6, "{upper}");
        capacity.forget();
        assert_eq!(capacity.upper(), None);
    }
}
