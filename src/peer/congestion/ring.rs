//! A short queue that lies inside its owner: looking at it costs no way through the memory.

/// At most `N` values, the oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Ring<T, const N: usize> {
    values: [T; N],
    first: usize,
    len: usize,
}

impl<T: Copy + Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self {
            values: [T::default(); N],
            first: 0,
            len: 0,
        }
    }
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    /// Adds the newest; where there is no room the oldest goes.
    pub fn push(&mut self, value: T) {
        if self.len == N {
            self.pop();
        }
        self.values[(self.first + self.len) % N] = value;
        self.len += 1;
    }

    /// Takes the oldest out.
    pub fn pop(&mut self) -> Option<T> {
        let oldest = self.get(0)?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(oldest)
    }

    /// The value that came as number `at` behind the oldest.
    pub fn get(&self, at: usize) -> Option<T> {
        self.place(at).copied()
    }

    /// Where it lies.
    pub fn place(&self, at: usize) -> Option<&T> {
        (at < self.len).then(|| &self.values[(self.first + at) % N])
    }

    /// The newest.
    pub fn newest(&self) -> Option<T> {
        self.get(self.len.checked_sub(1)?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let (wrapped, straight) = self.values.split_at(self.first);
        straight.iter().chain(wrapped).take(self.len).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn it_is_a_queue_that_forgets_the_oldest() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let (mut ring, mut model) = (Ring::<u32, 5>::default(), VecDeque::new());
        for value in 0..2000 {
            match rng.random_range(0..20) {
                0..=11 => {
                    ring.push(value);
                    model.push_back(value);
                    if model.len() > 5 {
                        model.pop_front();
                    }
                }
                12..=18 => assert_eq!(ring.pop(), model.pop_front()),
                _ => {
                    ring.clear();
                    model.clear();
                }
            }
            assert!(ring.iter().eq(model.iter().copied()));
            assert_eq!(
                (ring.get(0), ring.get(1)),
                (model.front().copied(), model.get(1).copied())
            );
            assert_eq!(ring.newest(), model.back().copied());
            assert_eq!(
                (ring.len(), ring.is_empty()),
                (model.len(), model.is_empty())
            );
        }
    }
}
