//! How weights become whole numbers: blocks of inputs that share a scale.

/// Inputs of an output that share a scale.
pub(crate) const BLOCK: usize = 64;

/// The sixteen numbers of NF4: quantiles of the normal distribution, scaled to -1 and 1, with an exact
/// zero (Dettmers et al. 2023, appendix E).
pub(crate) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The largest byte: scales are `largest / 127`, so that there is no -128.
const LARGEST: f32 = 127.0;

/// What numbers are multiplied by to become bytes, and what bytes are multiplied by; NaN where one is
/// not finite, so that what is computed with it is not either.
#[inline(always)]
pub(crate) fn scale(values: &[f32]) -> (f32, f32) {
    let largest = largest(values);
    let factor = LARGEST / largest;
    if !largest.is_finite() {
        (0.0, f32::NAN)
    } else if factor.is_finite() {
        (factor, largest / LARGEST)
    } else {
        // Nothing, or next to nothing.
        (0.0, 0.0)
    }
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    // Of numbers without a sign the bits have the same order, and NaN is above all.
    let bits = values.iter().map(|x| x.to_bits() & 0x7FFF_FFFF);
    f32::from_bits(bits.max().unwrap_or(0))
}

/// The nearest whole number, ties to even.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> i8 {
    // Adding it leaves the number in the low bits.
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i8
}

/// Bytes of up to [`BLOCK`] numbers, 128 above what they stand for, and their scale.
pub(crate) fn int8(values: &[f32], codes: &mut [u8]) -> f32 {
    let (factor, back) = scale(values);
    for (code, &x) in codes.iter_mut().zip(values) {
        *code = (i16::from(rounded(x * factor)) + 128) as u8;
    }
    back
}

/// Codes of up to [`BLOCK`] numbers, and their scale: the largest of them, and NaN where one is not
/// finite, so that what is computed with it is not either.
pub(crate) fn nf4(values: &[f32], codes: &mut [u8]) -> f32 {
    let largest = largest(values);
    if !largest.is_finite() {
        return f32::NAN;
    }
    let mut scaled = [0.0; BLOCK];
    if largest > 0.0 {
        for (to, x) in scaled.iter_mut().zip(values) {
            *to = x / largest;
        }
    }
    codes.fill(0);
    // One threshold after the other: vector code. Half way goes to the smaller number.
    for pair in NF4.windows(2) {
        let half_way = 0.5 * pair.iter().sum::<f32>();
        for (code, x) in codes.iter_mut().zip(&scaled) {
            *code += u8::from(*x > half_way);
        }
    }
    largest
}
