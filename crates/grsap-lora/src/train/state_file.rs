use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use grsap_model::{SafetensorsFile, TensorSource};
use safetensors::{Dtype, View};

use super::adamw::{AdamWConfig, Moments};
use super::checkpoint::CheckpointError;
use super::state::State;
use super::{adamw::AdamW, state::Totals};
use crate::adapter::{AdapterError, read};

const VALUE: &str = "value";
const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";
const AVERAGE: &str = "average";

/// Writes the parameters, the optimiser's means and the running average as they are, one tensor at
/// a time in memory.
pub(super) fn write(
    path: &Path,
    names: &[String],
    parameters: &[Tensor<2>],
    state: &State,
) -> Result<(), CheckpointError> {
    let failed = RefCell::new(None::<CheckpointError>);
    let mut tensors = Vec::new();
    let mut push = |name: &str, part: &str, tensor: &Tensor<2>| {
        let name = format!("{name}.{part}");
        let tensor = Lazy {
            name: name.clone(),
            shape: tensor.dims(),
            tensor: tensor.clone(),
            failed: &failed,
        };
        tensors.push((name, tensor));
    };
    let moments = state.optimizer.moments();
    for ((name, parameter), moments) in names.iter().zip(parameters).zip(moments) {
        push(name, VALUE, parameter);
        push(name, EXP_AVG, &moments.exp_avg);
        push(name, EXP_AVG_SQ, &moments.exp_avg_sq);
    }
    for (name, average) in names.iter().zip(state.average.iter().flatten()) {
        push(name, AVERAGE, average);
    }
    // The library makes files that nobody else may read; this one becomes an ordinary file.
    let ordinary = File::create(path).and_then(|file| Ok(file.metadata()?.permissions()));
    let ordinary = ordinary.map_err(CheckpointError::io(path))?;
    let written = safetensors::serialize_to_file(tensors, None, path);
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    written.map_err(|e| AdapterError::Serialize {
        reason: e.to_string(),
    })?;
    let synced = File::open(path).and_then(|file| {
        file.set_permissions(ordinary)?;
        file.sync_all()
    });
    synced.map_err(CheckpointError::io(path))
}

/// Reads them back: the parameters and the state.
pub(super) fn read_back(
    path: &Path,
    names: &[String],
    parameters: &[Tensor<2>],
    (config, step, has_average): (AdamWConfig, usize, bool),
    totals: Totals,
) -> Result<(Vec<Tensor<2>>, State), CheckpointError> {
    let file = SafetensorsFile::open(path)?;
    let device = parameters.first().map(Tensor::device);
    let device = device.unwrap_or_default();
    let (mut values, mut moments, mut averages) = (Vec::new(), Vec::new(), Vec::new());
    for (name, parameter) in names.iter().zip(parameters) {
        let shape = parameter.dims();
        let read = |part: &str| -> Result<Tensor<2>, CheckpointError> {
            let values = file.read_shaped(&format!("{name}.{part}"), &shape)?;
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        values.push(read(VALUE)?);
        moments.push(Moments {
            exp_avg: read(EXP_AVG)?,
            exp_avg_sq: read(EXP_AVG_SQ)?,
        });
        if has_average {
            averages.push(read(AVERAGE)?);
        }
    }
    let state = State {
        optimizer: AdamW::restored(config, step, moments),
        average: has_average.then_some(averages),
        totals,
    };
    Ok((values, state))
}

/// A tensor that is read when it is written.
struct Lazy<'a> {
    name: String,
    shape: [usize; 2],
    tensor: Tensor<2>,
    failed: &'a RefCell<Option<CheckpointError>>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = read(&self.name, self.tensor.clone()).map_err(CheckpointError::from);
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let values = values.and_then(|values| match is_finite(&values) {
            true => Ok(values),
            false => Err(CheckpointError::NonFinite {
                tensor: self.name.clone(),
            }),
        });
        match values {
            Ok(values) => Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect()),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                Cow::Owned(vec![0; self.data_len()])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
