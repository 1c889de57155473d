use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::decoder_config::{DecoderConfig, Family, NormKind, TensorNames};
use crate::gguf::GgufFile;
use crate::load_error::LoadError;

/// Named tensors, with the names that Hugging Face gives them
/// (`model.layers.0.self_attn.q_proj.weight`).
pub trait TensorSource {
    /// Where the tensors come from.
    fn path(&self) -> &Path;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// The shape of a tensor: `[rows, columns]` for a matrix, as in PyTorch.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The values of a tensor, row-major, in single precision.
    ///
    /// # Errors
    ///
    /// [`LoadError::MissingTensor`] when there is none of this name, [`LoadError::NonFinite`]
    /// when one of its values is NaN or infinite.
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError>;

    /// Takes note that a model asks for a tensor of this shape, and says whether to read it. Where
    /// the answer is no, the model takes a tensor of that shape that costs no memory.
    ///
    /// # Errors
    ///
    /// When no more is asked for than can be.
    #[doc(hidden)]
    fn ask(&self, _name: &str, _shape: &[usize]) -> Result<bool, LoadError> {
        Ok(true)
    }

    /// The values of a tensor that must have this shape.
    ///
    /// # Errors
    ///
    /// As [`read_f32`](Self::read_f32), and [`LoadError::Shape`].
    fn read_shaped(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        match self.shape(name) {
            Some(got) if got != shape => Err(LoadError::Shape {
                path: self.path().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
                got,
            }),
            _ => self.read_f32(name),
        }
    }
}

pub(crate) fn missing_tensor(path: &Path, tensor: &str) -> LoadError {
    LoadError::MissingTensor {
        path: path.to_owned(),
        tensor: tensor.to_owned(),
    }
}

/// Refuses NaN and infinite weights.
pub(crate) fn check_finite(path: &Path, tensor: &str, values: &[f32]) -> Result<(), LoadError> {
    // Without a way out of the loop it runs on vectors.
    let all_finite = |values: &[f32]| values.iter().fold(true, |all, x| all & x.is_finite());
    if values.par_chunks(1 << 15).all(all_finite) {
        return Ok(());
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((index, value)) => Err(LoadError::NonFinite {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            index,
            value: *value,
        }),
    }
}

/// The tensors of a GGUF file under their Hugging Face names and in Hugging Face order.
///
/// What llama.cpp's conversion does to the values is undone:
/// * `llama`: the rows of the query and key projections are stored so that the two halves of each
///   rotary pair are neighbours; here the first halves come first again.
/// * `gemma2`: norm weights are stored with 1 added.
/// * `gpt2`: linear weights are stored `[out, in]`.
#[derive(Debug, Clone)]
pub struct GgufWeights {
    file: Arc<GgufFile>,
    /// Hugging Face name to the name in the file.
    names: BTreeMap<String, String>,
    family: &'static Family,
    num_attention_heads: usize,
    num_key_value_heads: usize,
}

impl GgufWeights {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`GgufFile::open`] and [`GgufWeights::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::new(Arc::new(GgufFile::open(path)?))
    }

    /// Wraps an open file.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownArchitecture`], or what is wrong with the model's configuration.
    pub fn new(file: Arc<GgufFile>) -> Result<Self, LoadError> {
        let config = DecoderConfig::from_gguf(&file)?;
        let family = config.family(file.path())?;
        let names = file
            .tensors()
            .iter()
            .map(|tensor| {
                // What has no other name keeps its own, so that it is listed where it is not
                // expected.
                let name = hugging_face_name(family, &tensor.name);
                (
                    name.unwrap_or_else(|| tensor.name.clone()),
                    tensor.name.clone(),
                )
            })
            .collect();
        Ok(Self {
            file,
            names,
            family,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
        })
    }

    /// How many heads the rows of an interleaved tensor belong to.
    fn interleaved_heads(&self, gguf_name: &str) -> Option<usize> {
        if !self.family.gguf.is_some_and(|form| form.interleaved_qk) {
            None
        } else if gguf_name.contains(".attn_q.") {
            Some(self.num_attention_heads)
        } else if gguf_name.contains(".attn_k.") {
            Some(self.num_key_value_heads)
        } else {
            None
        }
    }

    /// Whether a tensor's rows are columns in Hugging Face's files.
    fn is_transposed(&self, gguf_name: &str) -> bool {
        self.family.fan_in_fan_out
            && gguf_name.starts_with("blk.")
            && gguf_name.ends_with(".weight")
            && !gguf_name.contains("norm")
    }
}

impl TensorSource for GgufWeights {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let gguf_name = self.names.get(name)?;
        let mut shape = self.file.tensor(gguf_name)?.shape.clone();
        if self.is_transposed(gguf_name) {
            shape.reverse();
        }
        Some(shape)
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let missing = || missing_tensor(self.path(), name);
        let gguf_name = self.names.get(name).ok_or_else(missing)?;
        let mut values = self.file.read_f32(gguf_name)?;
        check_finite(self.path(), name, &values)?;
        if self.is_transposed(gguf_name) {
            let rows = self.shape(name).ok_or_else(missing)?;
            return Ok(transposed(&values, rows.first().copied().unwrap_or(0)));
        }
        if self.family.norm == NormKind::RmsLessOne && gguf_name.ends_with("_norm.weight") {
            values.iter_mut().for_each(|x| *x -= 1.0);
        }
        let Some(num_heads) = self.interleaved_heads(gguf_name) else {
            return Ok(values);
        };
        let shape = self.shape(name).ok_or_else(missing)?;
        let rows = shape.first().copied().unwrap_or(0);
        if num_heads == 0 || !rows.is_multiple_of(2 * num_heads) {
            let reason = format!("{rows} rows do not divide into {num_heads} heads of even size");
            let field = format!("tensor `{gguf_name}`");
            return Err(LoadError::invalid(self.path(), field, reason));
        }
        Ok(split_halves(&values, rows, num_heads))
    }
}

/// Row `2 i + h` of each head becomes row `h * head_dim / 2 + i`.
fn split_halves(values: &[f32], rows: usize, num_heads: usize) -> Vec<f32> {
    let row_len = values.len() / rows.max(1);
    let head_len = values.len() / num_heads.max(1);
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_len.max(1)) {
        for half in 0..2 {
            for row in head.chunks_exact(row_len.max(1)).skip(half).step_by(2) {
                out.extend_from_slice(row);
            }
        }
    }
    out
}

/// The transpose of a matrix, as `rows` rows.
pub(crate) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        out.extend(values.iter().skip(row).step_by(rows));
    }
    out
}

/// The Hugging Face name of a GGUF tensor of a decoder.
fn hugging_face_name(family: &Family, gguf: &str) -> Option<String> {
    let (stem, kind) = gguf.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let names = &family.tensors;
    let base = names.base;
    let stem = match stem {
        "token_embd" => format!("{base}{}", names.embedding),
        "position_embd" => format!("{base}{}", names.positions?),
        "output_norm" => format!("{base}{}", names.final_norm),
        "output" => "lm_head".to_owned(),
        _ => {
            let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
            let layer: usize = layer.parse().ok()?;
            let part = match (part, names.qkv, names.mlp_in) {
                ("attn_norm", ..) => names.norms.before_attention?,
                ("post_attention_norm", ..) => names.norms.after_attention?,
                ("ffn_norm", ..) => names.norms.before_mlp?,
                ("post_ffw_norm", ..) => names.norms.after_mlp?,
                ("attn_q", [q, _, _], _) => q,
                ("attn_k", [_, k, _], _) => k,
                ("attn_v", [_, _, v], _) => v,
                ("attn_qkv", [qkv], _) => qkv,
                ("attn_q_norm", ..) if family.qk_norm.is_some() => TensorNames::Q_NORM,
                ("attn_k_norm", ..) if family.qk_norm.is_some() => TensorNames::K_NORM,
                ("attn_output", ..) => names.attention_out,
                ("ffn_gate", _, [gate, _]) => gate,
                ("ffn_up", _, [up] | [_, up]) => up,
                ("ffn_down", ..) => names.mlp_out,
                _ => return None,
            };
            format!("{base}{}.{layer}.{part}", names.layers)
        }
    };
    Some(format!("{stem}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::builder::{GgufBuilder, tiny_llama};

    fn open(builder: GgufBuilder) -> Result<GgufWeights, LoadError> {
        GgufWeights::new(Arc::new(GgufFile::from_bytes(builder.build())?))
    }

    fn with_embedding() -> GgufBuilder {
        tiny_llama().f32_tensor("token_embd.weight", &[2, 8], &[0.5; 16])
    }

    #[test]
    fn names_are_those_of_hugging_face() {
        let names = [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            (
                "blk.12.attn_norm.weight",
                "model.layers.12.input_layernorm.weight",
            ),
            (
                "blk.0.attn_q.weight",
                "model.layers.0.self_attn.q_proj.weight",
            ),
            ("blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"),
            (
                "blk.0.attn_v.weight",
                "model.layers.0.self_attn.v_proj.weight",
            ),
            (
                "blk.0.attn_output.weight",
                "model.layers.0.self_attn.o_proj.weight",
            ),
            (
                "blk.0.ffn_norm.weight",
                "model.layers.0.post_attention_layernorm.weight",
            ),
            (
                "blk.0.ffn_gate.weight",
                "model.layers.0.mlp.gate_proj.weight",
            ),
            ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"),
            (
                "blk.0.ffn_down.weight",
                "model.layers.0.mlp.down_proj.weight",
            ),
        ];
        let llama = Family::named("llama").unwrap();
        for (gguf, hugging_face) in names {
            let name = hugging_face_name(llama, gguf);
            assert_eq!(name.as_deref(), Some(hugging_face));
        }
        for (family, gguf, hugging_face) in [
            (
                "gemma2",
                "blk.1.post_attention_norm.weight",
                "model.layers.1.post_attention_layernorm.weight",
            ),
            (
                "gemma2",
                "blk.1.ffn_norm.weight",
                "model.layers.1.pre_feedforward_layernorm.weight",
            ),
            (
                "olmo2",
                "blk.0.post_ffw_norm.weight",
                "model.layers.0.post_feedforward_layernorm.weight",
            ),
            (
                "qwen3",
                "blk.0.attn_k_norm.weight",
                "model.layers.0.self_attn.k_norm.weight",
            ),
            (
                "gpt2",
                "blk.3.attn_qkv.bias",
                "transformer.h.3.attn.c_attn.bias",
            ),
            (
                "gpt2",
                "blk.3.ffn_up.weight",
                "transformer.h.3.mlp.c_fc.weight",
            ),
            ("gpt2", "position_embd.weight", "transformer.wpe.weight"),
        ] {
            let family = Family::named(family).unwrap();
            let name = hugging_face_name(family, gguf);
            assert_eq!(name.as_deref(), Some(hugging_face));
        }
        for other in [
            "rope_freqs.weight",
            "position_embd.weight",
            "blk.0.attn_q_norm.weight",
            "blk.0.attn_qkv.weight",
            "blk.0.post_ffw_norm.weight",
            "blk.x.attn_q.weight",
            "blk.0.weight",
            "",
            ".",
        ] {
            assert_eq!(hugging_face_name(llama, other), None, "{other}");
        }
    }

    #[test]
    fn query_and_key_rows_come_in_halves() {
        // Two query heads and one key head of width 4; each row is its number in the file.
        let row = |number: usize| [number as f32; 8];
        let query: Vec<f32> = (0..8).flat_map(row).collect();
        let key: Vec<f32> = (0..4).flat_map(row).collect();
        let bias: Vec<f32> = (0..8).map(|x| x as f32).collect();
        let weights = open(
            with_embedding()
                .f32_tensor("blk.0.attn_q.weight", &[8, 8], &query)
                .f32_tensor("blk.0.attn_q.bias", &[8], &bias)
                .f32_tensor("blk.0.attn_k.weight", &[4, 8], &key)
                .f32_tensor("blk.0.attn_v.weight", &[4, 8], &key),
        )
        .unwrap();
        let first = |part: &str, row_len: usize| -> Vec<f32> {
            let name = format!("model.layers.0.self_attn.{part}");
            let values = weights.read_f32(&name).unwrap();
            values.iter().step_by(row_len).copied().collect()
        };
        assert_eq!(
            first("q_proj.weight", 8),
            [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
        );
        assert_eq!(
            first("q_proj.bias", 1),
            [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
        );
        assert_eq!(first("k_proj.weight", 8), [0.0, 2.0, 1.0, 3.0]);
        assert_eq!(first("v_proj.weight", 8), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_bad_tensor_is_named() {
        let mut values = [0.0; 16];
        values[11] = f32::NAN;
        let weights = open(
            tiny_llama()
                .f32_tensor("token_embd.weight", &[2, 8], &values)
                .f32_tensor("blk.0.attn_q.weight", &[3, 8], &[0.0; 24]),
        )
        .unwrap();
        assert_eq!(
            weights.names(),
            [
                "model.embed_tokens.weight",
                "model.layers.0.self_attn.q_proj.weight"
            ]
        );
        let message =
            |name: &str, shape: &[usize]| weights.read_shaped(name, shape).unwrap_err().to_string();
        assert_eq!(
            message("model.embed_tokens.weight", &[2, 8]),
            "test.gguf: tensor `model.embed_tokens.weight` has the value NaN at index 11"
        );
        assert_eq!(
            message("model.embed_tokens.weight", &[8, 2]),
            "test.gguf: tensor `model.embed_tokens.weight` has shape [2, 8], expected [8, 2]"
        );
        assert_eq!(
            message("lm_head.weight", &[2, 8]),
            "test.gguf: no tensor `lm_head.weight`"
        );
        assert_eq!(
            message("model.layers.0.self_attn.q_proj.weight", &[3, 8]),
            "test.gguf: tensor `blk.0.attn_q.weight`: 3 rows do not divide into 2 heads of even size"
        );
    }
}
