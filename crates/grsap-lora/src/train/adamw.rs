use burn::tensor::Tensor;
use grsap_kernels::{AdamWState, AdamWStep, adamw};

use super::error::TrainError;

/// Constants of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the means of the gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// PyTorch's values.
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// Adam with decoupled weight decay.
///
/// # Source
///
/// Loshchilov and Hutter 2019, with PyTorch's `torch.optim.AdamW` in the details: the decay first,
/// both means corrected for their start at zero, `eps` added after the root.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    num_steps: usize,
    moments: Vec<Moments>,
    /// Which parameters have weight decay; those beyond its end have.
    decays: Vec<bool>,
}

/// The running means of one parameter.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    pub(super) exp_avg: Tensor<2>,
    pub(super) exp_avg_sq: Tensor<2>,
}

impl AdamW {
    /// An optimiser of parameters of the shapes of these.
    pub fn new<'a>(
        config: AdamWConfig,
        parameters: impl IntoIterator<Item = &'a Tensor<2>>,
    ) -> Self {
        let zeros = |parameter: &Tensor<2>| Moments {
            exp_avg: Tensor::zeros(parameter.dims(), &parameter.device()),
            exp_avg_sq: Tensor::zeros(parameter.dims(), &parameter.device()),
        };
        let moments = parameters.into_iter().map(zeros).collect();
        Self::restored(config, 0, moments)
    }

    pub(super) fn restored(config: AdamWConfig, num_steps: usize, moments: Vec<Moments>) -> Self {
        Self {
            config,
            num_steps,
            moments,
            decays: Vec::new(),
        }
    }

    /// Says which parameters have weight decay, in order; without this all have.
    #[must_use]
    pub fn with_decay(mut self, decays: impl IntoIterator<Item = bool>) -> Self {
        self.decays = decays.into_iter().collect();
        self
    }

    /// Finished steps.
    pub fn num_steps(&self) -> usize {
        self.num_steps
    }

    pub(super) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// The parameters after one more step, on `gradient_scale` times the gradients (see
    /// [`clip_coefficient`](super::clip_coefficient)).
    ///
    /// # Errors
    ///
    /// [`TrainError::Shapes`] when the parameters or the gradients are others than at the start.
    pub fn step(
        &mut self,
        parameters: Vec<Tensor<2>>,
        gradients: Vec<Tensor<2>>,
        lr: f64,
        gradient_scale: f64,
    ) -> Result<Vec<Tensor<2>>, TrainError> {
        self.check(&parameters)?;
        self.check(&gradients)?;
        self.num_steps += 1;
        let step = AdamWStep {
            betas: self.config.betas,
            eps: self.config.eps,
            lr,
            gradient_scale,
            step: self.num_steps,
        };
        let decays = self.decays.iter().copied().chain(std::iter::repeat(true));
        // The optimiser's operations work in memory that nobody else holds. Shapes have been checked,
        // so they give every state back.
        let moments = std::mem::take(&mut self.moments).into_iter();
        let states = moments.zip(parameters).zip(decays);
        let states = states.map(|((moments, parameter), decays)| AdamWState {
            parameter,
            exp_avg: moments.exp_avg,
            exp_avg_sq: moments.exp_avg_sq,
            weight_decay: if decays {
                self.config.weight_decay
            } else {
                0.0
            },
        });
        let states = adamw(states.collect(), gradients, &step)?;
        let (moments, parameters) = states
            .into_iter()
            .map(|state| {
                let moments = Moments {
                    exp_avg: state.exp_avg,
                    exp_avg_sq: state.exp_avg_sq,
                };
                (moments, state.parameter)
            })
            .unzip();
        self.moments = moments;
        Ok(parameters)
    }

    fn check(&self, tensors: &[Tensor<2>]) -> Result<(), TrainError> {
        let expected: Vec<_> = self.moments.iter().map(|m| m.exp_avg.dims()).collect();
        let got: Vec<_> = tensors.iter().map(Tensor::dims).collect();
        if expected == got {
            Ok(())
        } else {
            Err(TrainError::Shapes { expected, got })
        }
    }
}
