/// Numbers whose sum is taken by itself.
const BLOCK: usize = 64;

/// `exp((logit - max) / temperature)` for each logit, in double precision: probabilities before they
/// are divided by their sum.
///
/// The same bits on every processor: plain arithmetic, and sums in an order of their own.
///
/// # Examples
///
/// ```
/// let mut weights = grsap_kernels::SoftmaxWeights::default();
/// weights.set(&[1.0, 3.0, 2.0], 3.0, 1.0);
/// assert!((weights.total() - 1.503_214_7).abs() < 1e-6);
/// // The first token at which the running sum passes a share of the total.
/// assert_eq!(weights.pick(0.5 * weights.total()), Some(1));
/// ```
#[derive(Debug, Clone, Default)]
pub struct SoftmaxWeights {
    values: Vec<f64>,
    /// Of each block.
    sums: Vec<f64>,
    total: f64,
}

impl SoftmaxWeights {
    /// Computes them. `max` is the largest logit, `temperature` is above zero.
    pub fn set(&mut self, logits: &[f32], max: f32, temperature: f64) {
        self.values.resize(logits.len(), 0.0);
        self.sums.resize(logits.len().div_ceil(BLOCK), 0.0);
        fill(
            logits,
            f64::from(max),
            1.0 / temperature,
            &mut self.values,
            &mut self.sums,
        );
        self.total = self.sums.iter().sum();
    }

    /// In the order of the logits.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Their sum.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The first one at which the running sum passes `target`.
    pub fn pick(&self, target: f64) -> Option<usize> {
        let mut sum = 0.0;
        for (block, (values, block_sum)) in self.values.chunks(BLOCK).zip(&self.sums).enumerate() {
            if sum + block_sum > target {
                let mut inner = sum;
                for (at, value) in values.iter().enumerate() {
                    inner += value;
                    if inner > target {
                        return Some(block * BLOCK + at);
                    }
                }
            }
            sum += block_sum;
        }
        None
    }
}

#[cfg(feature = "flex")]
use crate::flex::softmax_weights as fill;
#[cfg(not(feature = "flex"))]
use fill_plainly as fill;

/// Weights, and the sum of every block of them.
#[inline(always)]
pub(crate) fn fill_plainly(
    logits: &[f32],
    max: f64,
    factor: f64,
    values: &mut [f64],
    sums: &mut [f64],
) {
    let blocks = logits.chunks(BLOCK).zip(values.chunks_mut(BLOCK));
    for ((logits, values), sum) in blocks.zip(sums) {
        for (value, &logit) in values.iter_mut().zip(logits) {
            *value = exp((f64::from(logit) - max) * factor);
        }
        let mut lanes = [0.0; 8];
        let (whole, rest) = values.as_chunks::<8>();
        for values in whole {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += value;
            }
        }
        *sum = lanes.iter().sum::<f64>() + rest.iter().sum::<f64>();
    }
}

/// exp(x) for x <= 0, to within a few units in the last place; zero below -708.
///
/// # Source
///
/// Cody and Waite 1980: x = n ln 2 + r, |r| <= ln 2 / 2; then the series of exp.
#[inline(always)]
fn exp(x: f64) -> f64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds to an integer
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const FACTORS: [f64; 12] = [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
    ];
    let clamped = if x < -708.0 { -708.0 } else { x };
    let shifted = clamped * std::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.0 / 6_227_020_800.0;
    for factor in FACTORS {
        p = p * r + factor;
    }
    let y = p * r + 1.0;
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < -708.0 { 0.0 } else { y * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in 0..=70_800 {
            let x = f64::from(-i) / 100.0;
            let (got, want) = (exp(x), x.exp());
            assert!(
                (got / want - 1.0).abs() < 1e-15,
                "exp({x}) = {got}, not {want}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn compiled_versions_agree_with_the_plain_one() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let logits: Vec<f32> = (0..len).map(|i| -((i * 37 % 101) as f32) / 3.0).collect();
            let mut weights = SoftmaxWeights::default();
            weights.set(&logits, 0.0, 0.7);
            let (mut values, mut sums) = (vec![0.0; len], vec![0.0; len.div_ceil(BLOCK)]);
            fill_plainly(&logits, 0.0, 1.0 / 0.7, &mut values, &mut sums);
            assert_eq!((weights.values(), &weights.sums), (&values[..], &sums));
        }
    }

    #[test]
    fn picking_is_the_running_sum() {
        let logits: Vec<f32> = (0..300)
            .map(|i| ((i * 53 % 29) as f32) / 4.0 - 7.0)
            .collect();
        let mut weights = SoftmaxWeights::default();
        weights.set(&logits, 0.0, 1.0);
        let total: f64 = weights.values().iter().sum();
        assert!((weights.total() / total - 1.0).abs() < 1e-14);
        let mut sum = 0.0;
        for (index, value) in weights.values().iter().enumerate() {
            // The middle of the stretch that belongs to `index`.
            assert_eq!(weights.pick(sum + 0.5 * value), Some(index));
            sum += value;
        }
        assert_eq!(weights.pick(2.0 * total), None);
    }
}
