/// The learning rate of every step.
///
/// It is a function of the step alone, so that resuming needs no state.
pub trait LrSchedule {
    /// The rate that step `step` uses, counted from 0.
    fn lr(&self, step: usize) -> f64;
}

/// Linear warm-up from 0, then half a cosine wave from the peak down to `min_lr_rate` times it.
///
/// # Examples
///
/// ```
/// use grsap_lora::{CosineWithMinLr, LrSchedule};
///
/// let schedule = CosineWithMinLr {
///     peak: 1e-3,
///     num_warmup_steps: 2,
///     num_steps: 10,
///     min_lr_rate: 0.5,
/// };
/// assert_eq!(schedule.lr(0), 0.0);
/// assert_eq!(schedule.lr(2), 1e-3);
/// assert_eq!(schedule.lr(6), 0.75e-3);
/// ```
///
/// # Source
///
/// transformers' `cosine_with_min_lr`; the method trains with warm-up 0.1 and minimum 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineWithMinLr {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the warm-up; the first step's rate is 0.
    pub num_warmup_steps: usize,
    /// Steps of the run.
    pub num_steps: usize,
    /// The rate at the end, relative to the peak.
    pub min_lr_rate: f64,
}

impl LrSchedule for CosineWithMinLr {
    fn lr(&self, step: usize) -> f64 {
        if step < self.num_warmup_steps {
            return self.peak * warmup(step, self.num_warmup_steps);
        }
        let rest = self.num_steps.saturating_sub(self.num_warmup_steps).max(1);
        // Past the end the rate stays at its minimum, instead of rising again.
        let progress = ((step - self.num_warmup_steps) as f64 / rest as f64).min(1.0);
        let wave = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.peak * (self.min_lr_rate + (1.0 - self.min_lr_rate) * wave)
    }
}

/// Linear warm-up from 0, then a straight line down to 0.
///
/// # Source
///
/// transformers' `linear`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the warm-up; the first step's rate is 0.
    pub num_warmup_steps: usize,
    /// Steps of the run.
    pub num_steps: usize,
}

impl LrSchedule for Linear {
    fn lr(&self, step: usize) -> f64 {
        if step < self.num_warmup_steps {
            return self.peak * warmup(step, self.num_warmup_steps);
        }
        let rest = self.num_steps.saturating_sub(self.num_warmup_steps).max(1);
        self.peak * self.num_steps.saturating_sub(step) as f64 / rest as f64
    }
}

/// Linear warm-up from 0, then always the same rate.
///
/// # Source
///
/// transformers' `constant_with_warmup`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant {
    /// The rate.
    pub peak: f64,
    /// Steps of the warm-up; the first step's rate is 0.
    pub num_warmup_steps: usize,
}

impl LrSchedule for Constant {
    fn lr(&self, step: usize) -> f64 {
        self.peak * warmup(step, self.num_warmup_steps)
    }
}

fn warmup(step: usize, num_warmup_steps: usize) -> f64 {
    if step < num_warmup_steps {
        step as f64 / num_warmup_steps as f64
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_ends_at_its_minimum_and_stays_there() {
        let schedule = CosineWithMinLr {
            peak: 2.0,
            num_warmup_steps: 4,
            num_steps: 20,
            min_lr_rate: 0.25,
        };
        let rates: Vec<f64> = (0..24).map(|step| schedule.lr(step)).collect();
        assert_eq!(rates[..5], [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert!(rates[4..].windows(2).all(|pair| pair[1] <= pair[0]));
        assert!((rates[20] - 0.5).abs() < 1e-12);
        assert_eq!(rates[20..], [rates[20]; 4]);
    }

    #[test]
    fn linear_ends_at_zero() {
        let schedule = Linear {
            peak: 1.0,
            num_warmup_steps: 2,
            num_steps: 6,
        };
        let rates: Vec<f64> = (0..8).map(|step| schedule.lr(step)).collect();
        assert_eq!(rates, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_peak() {
        let constant = Constant {
            peak: 3.0,
            num_warmup_steps: 0,
        };
        assert_eq!(constant.lr(0), 3.0);
        let cosine = CosineWithMinLr {
            peak: 3.0,
            num_warmup_steps: 0,
            num_steps: 1,
            min_lr_rate: 0.0,
        };
        assert_eq!(cosine.lr(0), 3.0);
        let warmup_only = Linear {
            peak: 1.0,
            num_warmup_steps: 2,
            num_steps: 2,
        };
        assert_eq!(warmup_only.lr(1), 0.5);
    }
}
