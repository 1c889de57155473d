use burn::tensor::{DType, Device, Tensor};
use grsap_kernels::{KernelError, write_rows};

use crate::decoder_config::DecoderConfig;

/// Keys and values of every layer: `num_rows` rows, any of which can belong to any sequence.
///
/// The memory is allocated once. Who owns which rows is the caller's business; a sequence names
/// its rows in the [`Segment`](grsap_kernels::Segment)s of a forward pass, so two sequences can
/// share the rows of a common prefix.
#[derive(Debug)]
pub struct KvCache {
    // `None` only while a layer writes.
    layers: Vec<Option<(Tensor<2>, Tensor<2>)>>,
    num_rows: usize,
    empty: Tensor<2>,
}

impl KvCache {
    /// A cache of `num_rows` rows for a decoder.
    pub fn new(config: &DecoderConfig, num_rows: usize, device: &Device) -> Self {
        let width = config.num_key_value_heads * config.head_dim;
        let zeros = || Tensor::zeros([num_rows, width], device);
        Self {
            layers: (0..config.num_hidden_layers)
                .map(|_| Some((zeros(), zeros())))
                .collect(),
            num_rows,
            empty: Tensor::zeros([0, width], device),
        }
    }

    /// The same for keys and values of another type than f32, which a decoder has whose weights are
    /// `bf16` on a GPU.
    #[must_use]
    pub fn cast(mut self, dtype: DType) -> Self {
        let layers = self.layers.into_iter();
        self.layers = layers
            .map(|layer| layer.map(|(k, v)| (k.cast(dtype), v.cast(dtype))))
            .collect();
        self.empty = self.empty.cast(dtype);
        self
    }

    /// Bytes that one token takes in the caches of a decoder.
    pub fn bytes_per_row(config: &DecoderConfig) -> usize {
        let width = config.num_key_value_heads * config.head_dim;
        2 * config.num_hidden_layers * width * size_of::<f32>()
    }

    /// How many tokens it holds.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Stores the keys and values of new tokens and gives those of all rows.
    pub(crate) fn update(
        &mut self,
        layer: usize,
        k: Tensor<2>,
        v: Tensor<2>,
        rows: &[usize],
    ) -> Result<(Tensor<2>, Tensor<2>), KernelError> {
        let num_layers = self.layers.len();
        let slot = self.layers.get_mut(layer).ok_or(KernelError::Index {
            op: "kv_cache",
            what: "layer",
            index: layer,
            len: num_layers,
        })?;
        // Taken out, so that this is the only handle and the rows are written in place.
        let empty = || (self.empty.clone(), self.empty.clone());
        let (keys, values) = slot.take().unwrap_or_else(empty);
        let keys = write_rows(keys, k, rows)?;
        let values = write_rows(values, v, rows)?;
        *slot = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }
}
