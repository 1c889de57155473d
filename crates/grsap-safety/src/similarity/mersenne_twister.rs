/// MT19937, the 32-bit Mersenne Twister.
///
/// FAISS draws with it; the same draws give the same clusters as its k-means, and so the same MAUVE as
/// mauve-text's. Nothing else here uses it.
///
/// # Source
///
/// Matsumoto, Nishimura, Mersenne Twister (1998), with the initialisation of 2002.
pub(crate) struct MersenneTwister {
    state: Box<[u32; Self::SIZE]>,
    next: usize,
}

impl MersenneTwister {
    const SIZE: usize = 624;
    const SHIFT: usize = 397;

    pub(crate) fn new(seed: u32) -> Self {
        let mut state = Box::new([0; Self::SIZE]);
        let mut word = seed;
        for (at, slot) in (0..).zip(state.iter_mut()) {
            if at > 0 {
                word = (word ^ (word >> 30))
                    .wrapping_mul(1_812_433_253)
                    .wrapping_add(at);
            }
            *slot = word;
        }
        Self {
            state,
            next: Self::SIZE,
        }
    }

    #[allow(clippy::indexing_slicing)] // every index is taken modulo the size
    fn twist(&mut self) {
        let state = &mut self.state;
        for at in 0..Self::SIZE {
            let joined = (state[at] & 0x8000_0000) | (state[(at + 1) % Self::SIZE] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            state[at] = state[(at + Self::SHIFT) % Self::SIZE] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.next == Self::SIZE {
            self.twist();
        }
        let mut word = self.state.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// In [0, 1], both ends included.
    pub(crate) fn next_unit(&mut self) -> f32 {
        self.next_u32() as f32 / u32::MAX as f32
    }

    /// `0..n` in a random order.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for at in 0..n.saturating_sub(1) {
            // In this form for the sake of FAISS; at n of some thousand the bias is below 1e-5.
            let other = at + self.next_u32() as usize % (n - at);
            order.swap(at, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_words() {
        // The 10,000th word from the default seed is in the C++ standard.
        let mut twister = MersenneTwister::new(5489);
        assert_eq!(twister.next_u32(), 3_499_211_612);
        let word = (1..10_000).map(|_| twister.next_u32()).last();
        assert_eq!(word, Some(4_123_659_995));
    }

    #[test]
    fn the_order_that_faiss_1_15_draws() {
        let order = MersenneTwister::new(28).permutation(4000);
        assert_eq!(order[..5], [2177, 3075, 3589, 817, 2856]);
        assert!(MersenneTwister::new(28).permutation(0).is_empty());
    }
}
