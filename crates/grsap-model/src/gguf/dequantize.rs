use half::{bf16, f16};
use rayon::prelude::*;

use super::tensor_type::TensorType;

/// Values that one thread decodes before it asks for more.
const VALUES_PER_TASK: usize = 1 << 15;

/// Decodes the blocks of a tensor to single precision.
///
/// `bytes` and `out` must be of matching length; surplus on either side is left alone.
///
/// # Source
///
/// The block layouts of ggml. The order of operations is that of the `gguf` Python package, so
/// the results are equal to its results in every bit.
pub(super) fn dequantize(tensor_type: TensorType, bytes: &[u8], out: &mut [f32]) {
    match tensor_type {
        TensorType::F32 => blocks(bytes, out, |b: &[u8; 4], [x]| *x = f32::from_le_bytes(*b)),
        TensorType::F16 => blocks(bytes, out, |b: &[u8; 2], [x]| *x = half(*b)),
        TensorType::BF16 => blocks(bytes, out, |b: &[u8; 2], [x]| {
            *x = bf16::from_le_bytes(*b).to_f32();
        }),
        TensorType::Q4_0 => blocks(bytes, out, q4_0),
        TensorType::Q4_1 => blocks(bytes, out, q4_1),
        TensorType::Q5_0 => blocks(bytes, out, q5_0),
        TensorType::Q5_1 => blocks(bytes, out, q5_1),
        TensorType::Q8_0 => blocks(bytes, out, q8_0),
        TensorType::Q2_K => blocks(bytes, out, q2_k),
        TensorType::Q3_K => blocks(bytes, out, q3_k),
        TensorType::Q4_K => blocks(bytes, out, q4_k),
        TensorType::Q5_K => blocks(bytes, out, q5_k),
        TensorType::Q6_K => blocks(bytes, out, q6_k),
    }
}

/// Runs `decode` on every block of `BYTES` bytes, which holds `LEN` values.
fn blocks<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]) + Sync,
) {
    let (bytes, _) = bytes.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<LEN>();
    bytes
        .par_iter()
        .zip(out)
        .with_min_len(VALUES_PER_TASK / LEN)
        .for_each(|(block, out)| decode(block, out));
}

fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Writes the 4-bit integers of `packed` to `out`: all low halves, then all high halves.
fn nibbles(packed: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(packed.len());
    for ((byte, low), high) in packed.iter().zip(low).zip(high) {
        *low = f32::from(byte & 0x0F);
        *high = f32::from(byte >> 4);
    }
}

fn q4_0([d0, d1, qs @ ..]: &[u8; 18], out: &mut [f32; 32]) {
    let d = half([*d0, *d1]);
    nibbles(qs, out);
    out.iter_mut().for_each(|x| *x = d * (*x - 8.0));
}

fn q4_1([d0, d1, m0, m1, qs @ ..]: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half([*d0, *d1]), half([*m0, *m1]));
    nibbles(qs, out);
    out.iter_mut().for_each(|x| *x = d * *x + m);
}

/// Adds 16 to each value whose bit in `high` is set.
fn fifth_bits(high: [u8; 4], out: &mut [f32; 32]) {
    let high = u32::from_le_bytes(high);
    for (index, x) in out.iter_mut().enumerate() {
        if high >> index & 1 == 1 {
            *x += 16.0;
        }
    }
}

fn q5_0([d0, d1, h0, h1, h2, h3, qs @ ..]: &[u8; 22], out: &mut [f32; 32]) {
    let d = half([*d0, *d1]);
    nibbles(qs, out);
    fifth_bits([*h0, *h1, *h2, *h3], out);
    out.iter_mut().for_each(|x| *x = d * (*x - 16.0));
}

fn q5_1([d0, d1, m0, m1, h0, h1, h2, h3, qs @ ..]: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half([*d0, *d1]), half([*m0, *m1]));
    nibbles(qs, out);
    fifth_bits([*h0, *h1, *h2, *h3], out);
    out.iter_mut().for_each(|x| *x = d * *x + m);
}

fn q8_0([d0, d1, qs @ ..]: &[u8; 34], out: &mut [f32; 32]) {
    let d = half([*d0, *d1]);
    for (q, x) in qs.iter().zip(out) {
        *x = f32::from(q.cast_signed()) * d;
    }
}

/// Writes the 2-bit integers of 64 bytes: each 32 bytes hold four rows of 32.
fn crumbs(packed: &[u8], out: &mut [f32; 256]) {
    for (packed, out) in packed.chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (row, out) in out.chunks_exact_mut(32).enumerate() {
            for (byte, x) in packed.iter().zip(out) {
                *x = f32::from(byte >> (2 * row) & 3);
            }
        }
    }
}

/// Adds `value(bit)` to each value; row `i` of 32 has its bits at place `i` of 32 bytes.
fn bit_rows(bits: &[u8], out: &mut [f32; 256], value: impl Fn(u8) -> f32) {
    for (row, out) in out.chunks_exact_mut(32).enumerate() {
        for (byte, x) in bits.iter().zip(out) {
            *x += value(byte >> row & 1);
        }
    }
}

fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let [body @ .., d0, d1, m0, m1] = block;
    let (scales, qs) = body.split_at(16);
    let (d, dmin) = (half([*d0, *d1]), half([*m0, *m1]));
    crumbs(qs, out);
    for (scale, out) in scales.iter().zip(out.chunks_exact_mut(16)) {
        let (d, m) = (d * f32::from(scale & 0x0F), dmin * f32::from(scale >> 4));
        out.iter_mut().for_each(|x| *x = d * *x - m);
    }
}

fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let [body @ .., d0, d1] = block;
    let (high_bits, rest) = body.split_at(32);
    let (qs, scales) = rest.split_at(64);
    let (low, high) = scales.split_at(8);
    let d = half([*d0, *d1]);
    crumbs(qs, out);
    // A set bit means no offset.
    bit_rows(high_bits, out, |bit| if bit == 1 { 0.0 } else { -4.0 });
    let low = low
        .iter()
        .map(|b| b & 0x0F)
        .chain(low.iter().map(|b| b >> 4));
    let high = (0..4).flat_map(|place| high.iter().map(move |b| b >> (2 * place) & 3));
    for ((low, high), out) in low.zip(high).zip(out.chunks_exact_mut(16)) {
        let d = d * (f32::from(low | high << 4) - 32.0);
        out.iter_mut().for_each(|x| *x *= d);
    }
}

/// The eight 6-bit scales and minima of `Q4_K` and `Q5_K`.
fn scales_and_minima(packed: &[u8]) -> impl Iterator<Item = (f32, f32)> {
    let (scales, rest) = packed.split_at(4);
    let (minima, both) = rest.split_at(4);
    let first = scales.iter().zip(minima).map(|(s, m)| (s & 0x3F, m & 0x3F));
    let second = scales
        .iter()
        .zip(minima)
        .zip(both)
        .map(|((s, m), both)| (both & 0x0F | (s >> 2 & 0x30), both >> 4 | (m >> 2 & 0x30)));
    first
        .chain(second)
        .map(|(s, m)| (f32::from(s), f32::from(m)))
}

/// Scales rows of 32 and subtracts their minima.
fn scale_rows(d: f32, dmin: f32, scales: &[u8], out: &mut [f32; 256]) {
    for ((scale, min), out) in scales_and_minima(scales).zip(out.chunks_exact_mut(32)) {
        let (d, m) = (d * scale, dmin * min);
        out.iter_mut().for_each(|x| *x = d * *x - m);
    }
}

fn q4_k([d0, d1, m0, m1, body @ ..]: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, qs) = body.split_at(12);
    for (packed, out) in qs.chunks_exact(32).zip(out.chunks_exact_mut(64)) {
        nibbles(packed, out);
    }
    scale_rows(half([*d0, *d1]), half([*m0, *m1]), scales, out);
}

fn q5_k([d0, d1, m0, m1, body @ ..]: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, rest) = body.split_at(12);
    let (high_bits, qs) = rest.split_at(32);
    for (packed, out) in qs.chunks_exact(32).zip(out.chunks_exact_mut(64)) {
        nibbles(packed, out);
    }
    bit_rows(high_bits, out, |bit| f32::from(bit << 4));
    scale_rows(half([*d0, *d1]), half([*m0, *m1]), scales, out);
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let [body @ .., d0, d1] = block;
    let (low, rest) = body.split_at(128);
    let (high, scales) = rest.split_at(64);
    let d = half([*d0, *d1]);
    for (low, out) in low.chunks_exact(64).zip(out.chunks_exact_mut(128)) {
        nibbles(low, out);
    }
    for (high, out) in high.chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (row, out) in out.chunks_exact_mut(32).enumerate() {
            for (byte, x) in high.iter().zip(out) {
                *x += f32::from((byte >> (2 * row) & 3) << 4) - 32.0;
            }
        }
    }
    for (scale, out) in scales.iter().zip(out.chunks_exact_mut(16)) {
        let d = d * f32::from(scale.cast_signed());
        out.iter_mut().for_each(|x| *x *= d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        // No pattern that a swapped index would hide.
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn run(tensor_type: TensorType, bytes: &[u8]) -> Vec<f32> {
        let num_blocks = bytes.len() / tensor_type.block_bytes();
        let mut out = vec![f32::NAN; num_blocks * tensor_type.block_len()];
        dequantize(tensor_type, bytes, &mut out);
        out
    }

    /// Three blocks of random bytes with the scales 0.5, 1.5, 2.5 (and minima 0.25), against
    /// `value(block, index)` written down from the layout, one value at a time.
    fn check(
        tensor_type: TensorType,
        scale: usize,
        minimum: Option<usize>,
        value: impl Fn(&[u8], f32, usize) -> f32,
    ) {
        let mut data = bytes(3 * tensor_type.block_bytes());
        for (index, block) in data.chunks_mut(tensor_type.block_bytes()).enumerate() {
            let d = f16::from_f32(index as f32 + 0.5).to_le_bytes();
            block[scale..scale + 2].copy_from_slice(&d);
            if let Some(minimum) = minimum {
                block[minimum..minimum + 2].copy_from_slice(&f16::from_f32(0.25).to_le_bytes());
            }
        }
        let out = run(tensor_type, &data);
        let len = tensor_type.block_len();
        for (index, block) in data.chunks(tensor_type.block_bytes()).enumerate() {
            for i in 0..len {
                let expected = value(block, index as f32 + 0.5, i);
                assert_eq!(
                    out[index * len + i],
                    expected,
                    "{tensor_type:?} {index} {i}"
                );
            }
        }
    }

    fn nibble(packed: &[u8], i: usize) -> u8 {
        let half = packed.len();
        if i < half {
            packed[i] & 15
        } else {
            packed[i - half] >> 4
        }
    }

    fn bit(bits: &[u8], i: usize) -> u8 {
        bits[i / 8] >> (i % 8) & 1
    }

    fn scale_and_min(s: &[u8], i: usize) -> (f32, f32) {
        let (d, m) = if i < 4 {
            (s[i] & 63, s[i + 4] & 63)
        } else {
            (
                s[i + 4] & 15 | (s[i - 4] >> 6) << 4,
                s[i + 4] >> 4 | (s[i] >> 6) << 4,
            )
        };
        (d.into(), m.into())
    }

    #[test]
    fn floats() {
        assert_eq!(run(TensorType::F32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(
            run(TensorType::F16, &[0x00, 0x3E, 0x01, 0x00]),
            [1.5, 2_f32.powi(-24)]
        );
        assert_eq!(
            run(TensorType::BF16, &[0xC0, 0x3F, 0x80, 0xFF]),
            [1.5, f32::NEG_INFINITY]
        );
    }

    #[test]
    fn blocks_of_32() {
        check(TensorType::Q4_0, 0, None, |b, d, i| {
            d * (f32::from(nibble(&b[2..], i)) - 8.0)
        });
        check(TensorType::Q4_1, 0, Some(2), |b, d, i| {
            d * f32::from(nibble(&b[4..], i)) + 0.25
        });
        check(TensorType::Q5_0, 0, None, |b, d, i| {
            d * (f32::from(nibble(&b[6..], i) | bit(&b[2..6], i) << 4) - 16.0)
        });
        check(TensorType::Q5_1, 0, Some(2), |b, d, i| {
            d * f32::from(nibble(&b[8..], i) | bit(&b[4..8], i) << 4) + 0.25
        });
        check(TensorType::Q8_0, 0, None, |b, d, i| {
            d * f32::from(b[2 + i] as i8)
        });
    }

    #[test]
    fn blocks_of_256() {
        let crumb = |qs: &[u8], i: usize| qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        check(TensorType::Q2_K, 80, Some(82), |b, d, i| {
            let scale = b[i / 16];
            let q = f32::from(crumb(&b[16..80], i));
            d * f32::from(scale & 15) * q - 0.25 * f32::from(scale >> 4)
        });
        check(TensorType::Q3_K, 108, None, |b, d, i| {
            let scales = &b[96..108];
            let group = i / 16;
            let low = nibble(&scales[..8], group);
            let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
            let offset = if b[i % 32] >> (i / 32) & 1 == 1 {
                0.0
            } else {
                4.0
            };
            let q = f32::from(crumb(&b[32..96], i)) - offset;
            d * (f32::from(low | high << 4) - 32.0) * q
        });
        check(TensorType::Q4_K, 0, Some(2), |b, d, i| {
            let (scale, min) = scale_and_min(&b[4..16], i / 32);
            let q = nibble(&b[16 + i / 64 * 32..][..32], i % 64);
            d * scale * f32::from(q) - 0.25 * min
        });
        check(TensorType::Q5_K, 0, Some(2), |b, d, i| {
            let (scale, min) = scale_and_min(&b[4..16], i / 32);
            let high = b[16 + i % 32] >> (i / 32) & 1;
            let q = nibble(&b[48 + i / 64 * 32..][..32], i % 64) | high << 4;
            d * scale * f32::from(q) - 0.25 * min
        });
        check(TensorType::Q6_K, 208, None, |b, d, i| {
            let low = nibble(&b[i / 128 * 64..][..64], i % 128);
            let high = b[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            let scale = f32::from(b[192 + i / 16] as i8);
            d * scale * (f32::from(low | high << 4) - 32.0)
        });
    }
}
