use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};

use crate::segment::AttentionShape;

/// How the attention kernels divide their work; known when they are compiled.
///
/// The units of a cube form groups of 32 lanes. A group owns some rows of each tile, a lane every
/// 32nd column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tiles {
    /// Queries of a tile.
    pub(super) queries: usize,
    /// Keys of a tile.
    pub(super) keys: usize,
    pub(super) head_dim: usize,
    /// Elements between the rows of tiles of queries, keys and values.
    pub(super) row: usize,
    /// The same for tiles of scores.
    pub(super) score_row: usize,
    /// The same for tiles of probabilities.
    pub(super) probability_row: usize,
    /// Products of tiles are left to tensor cores, 16 x 16 at a time, in f32.
    pub(super) tensor_cores: bool,
    pub(super) causal: bool,
    pub(super) windowed: bool,
    pub(super) capped: bool,
}

pub(super) const LANES: usize = 32;
pub(super) const GROUPS: usize = 4;
pub(super) const UNITS: usize = LANES * GROUPS;

/// Which tiles of `head_dim` columns a kernel holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    /// One of queries, one of keys.
    Forward,
    /// Two of queries, one of keys.
    QueryGradient,
    /// Two of queries, two of keys.
    KeyGradient,
}

impl Tiles {
    /// The largest that fit into the device's shared memory; `None` where none does.
    pub(super) fn choose(tensor: &CubeTensor, shape: &AttentionShape, held: Held) -> Option<Self> {
        let properties = tensor.client.properties();
        let hardware = &properties.hardware;
        if (hardware.max_units_per_cube as usize) < UNITS || !shape.head_dim.is_multiple_of(LANES) {
            return None;
        }
        let elem = burn::backend::cubecl::dtype_to_storage_type(tensor.dtype);
        let f32 = ElemType::Float(FloatKind::F32);
        let has_tensor_cores = hardware.plane_size_min == LANES as u32
            && hardware.plane_size_max == LANES as u32
            && properties.features.matmul.cmma.iter().any(|config| {
                (config.m, config.n, config.k) == (16, 16, 16)
                    && config.a_type == elem
                    && config.b_type == elem
                    && config.cd_type == f32
            });
        let candidates = [(true, 64, 64), (false, 16, 32), (false, 8, 32)];
        let candidates = candidates.into_iter().filter(|c| !c.0 || has_tensor_cores);
        candidates
            .map(|(tensor_cores, queries, keys)| {
                // Whole 16 bytes, so that tensor cores can read; else an odd number of words.
                let (pad, score_pad) = if tensor_cores { (8, 4) } else { (1, 1) };
                Self {
                    queries,
                    keys,
                    head_dim: shape.head_dim,
                    row: shape.head_dim + pad,
                    score_row: keys + score_pad,
                    probability_row: keys + pad,
                    tensor_cores,
                    causal: shape.causal,
                    windowed: shape.window.is_some(),
                    capped: shape.softcap.is_some(),
                }
            })
            .find(|tiles| {
                let (queries, keys) = match held {
                    Held::Forward => (1, 1),
                    Held::QueryGradient => (2, 1),
                    Held::KeyGradient => (2, 2),
                };
                let rows = queries * tiles.queries + keys * tiles.keys;
                let size = tensor.dtype.size();
                let wide = rows * tiles.row * size;
                let scores = tiles.queries * (tiles.score_row * 4 + tiles.probability_row * size);
                let sums = tiles.queries * 4;
                wide + scores + sums <= hardware.max_shared_memory_size
            })
    }
}
