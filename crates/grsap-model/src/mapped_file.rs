use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::load_error::LoadError;

/// How much of a file is decoded before its pages are let go. Large enough to share among threads.
const PIECE: usize = 8 << 20;

/// A file in memory, read-only.
#[derive(Debug)]
pub(crate) enum MappedFile {
    /// Mapped by the operating system.
    Mapped(Mmap),
    #[cfg(test)]
    Owned(Vec<u8>),
}

impl MappedFile {
    /// Maps a file. An empty one has no bytes.
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|e| LoadError::io(path, e))?;
        // SAFETY: the map is read-only and private to this process's view. As with every memory
        // map, the file must not be shortened by someone else while it is mapped; model files are
        // not.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| LoadError::io(path, e))?;
        Ok(Self::Mapped(map))
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            #[cfg(test)]
            Self::Owned(bytes) => bytes,
        }
    }

    /// Decodes blocks of `block_bytes` bytes, each of which gives `block_len` values, a piece at a
    /// time. The pages of a finished piece are given back to the operating system, so that not both
    /// the file and its values pile up in memory.
    ///
    /// `None` when the range is not in the file.
    pub(crate) fn decode(
        &self,
        range: Range<usize>,
        (block_bytes, block_len): (usize, usize),
        out: &mut [f32],
        decode: impl Fn(&[u8], &mut [f32]),
    ) -> Option<()> {
        let blocks = (PIECE / block_bytes.max(1)).max(1);
        let bytes = self.bytes().get(range.clone())?;
        let pieces = bytes.chunks(blocks * block_bytes.max(1));
        let mut start = range.start;
        for (piece, out) in pieces.zip(out.chunks_mut(blocks * block_len.max(1))) {
            decode(piece, out);
            self.release(start..start + piece.len());
            start += piece.len();
        }
        Some(())
    }

    /// Says that these bytes are not needed soon. Reading them again is possible, and slower.
    #[allow(unsafe_code)]
    fn release(&self, range: Range<usize>) {
        match self {
            #[cfg(unix)]
            Self::Mapped(map) => {
                // SAFETY: the pages of a read-only map of a file are dropped; the next access reads
                // the same bytes from the file again. It is advice: a failure changes nothing.
                let _ = unsafe {
                    map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        range.start,
                        range.len(),
                    )
                };
            }
            #[cfg(not(unix))]
            Self::Mapped(_) => {}
            #[cfg(test)]
            Self::Owned(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_and_can_be_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Three pieces, the last one short, behind an odd offset.
        let num_values = (2 * PIECE + 12) / 4;
        let bytes: Vec<u8> = [0; 3]
            .into_iter()
            .chain((0..num_values as u32).flat_map(u32::to_le_bytes))
            .collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let mapped = MappedFile::open(file.path()).unwrap();
        for _ in 0..2 {
            let mut out = vec![0.0; num_values];
            let range = 3..bytes.len();
            let decode = |bytes: &[u8], out: &mut [f32]| {
                for (bytes, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
                    *out = u32::from_le_bytes(*bytes) as f32;
                }
            };
            mapped.decode(range, (4, 1), &mut out, decode).unwrap();
            assert!(out.iter().enumerate().all(|(i, x)| *x == i as f32));
        }
        assert_eq!(mapped.bytes(), bytes);
        let beyond = mapped.decode(0..bytes.len() + 1, (4, 1), &mut [], |_, _| {});
        assert_eq!(beyond, None);
    }
}
