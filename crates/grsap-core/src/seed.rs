use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// An independent random stream for (`seed`, `name`, `parts`).
///
/// Every random choice has a name of its own ("mix.shuffle", "sample") and, where there are many,
/// parts that say which one it is. So a batch size, a thread count or an added stage never moves
/// another draw. ChaCha8 gives the same bytes on every platform and in every version.
///
/// # Examples
///
/// ```
/// use rand::Rng;
///
/// let a = grsap_core::rng(7, "shuffle", &[b"epoch 1"]).next_u64();
/// let b = grsap_core::rng(7, "shuffle", &[b"epoch 1"]).next_u64();
/// let c = grsap_core::rng(7, "shuffle", &[b"epoch 2"]).next_u64();
/// assert_eq!(a, b);
/// assert_ne!(a, c);
/// ```
pub fn rng(seed: u64, name: &str, parts: &[&[u8]]) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for part in std::iter::once(&name.as_bytes()).chain(parts) {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// SHA-256 of `bytes`, in lower-case hexadecimal.
///
/// # Examples
///
/// ```
/// assert!(grsap_core::digest_hex(b"abc").starts_with("ba7816bf"));
/// ```
pub fn digest_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
