//! Trains LoRA, or all weights, on SmolLM2 for some steps and prints tokens a second, the arithmetic of the
//! products with weights in that time (four operations a frozen weight and token, six where it is trained), and
//! the most memory that was resident, as one line of JSON. `benches/peers/training.py` runs it in turn with PEFT.
//!
//!     train FILE-or-DIR [--full] [--rows 8] [--tokens 128] [--steps 3] [--checkpointing] [--format f32|bf16|int8|nf4]

#![allow(clippy::print_stdout)] // that is what it is for

use std::ops::ControlFlow;

use grsap_replay::lora::{BoxError, FullFineTuning, SftExample, StepReport};
use grsap_replay::model::WeightFormat;
use grsap_replay::prelude::*;

type Error = Box<dyn std::error::Error>;

#[derive(Default)]
struct Seconds(Vec<f64>);

impl Callback for Seconds {
    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        self.0.push(report.seconds);
        Ok(ControlFlow::Continue(()))
    }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("usage: train FILE-or-DIR [options]")?;
    let option = |name: &str, default: usize| -> Result<usize, Error> {
        let mut rest = args.iter().skip_while(|arg| *arg != name);
        match rest.nth(1) {
            Some(value) => Ok(value.parse()?),
            None => Ok(default),
        }
    };
    let (rows, tokens) = (option("--rows", 8)?, option("--tokens", 128)?);
    let named = args.iter().skip_while(|arg| *arg != "--format").nth(1);
    let format: WeightFormat = named.map_or("f32", String::as_str).parse()?;
    let mut model = ChatModel::load_as(path, &Device::flex(), format)?;
    let ids = |row: usize| (0..tokens).map(move |i| ((i * 7 + row * 13) % 90 + 5) as u32);
    let examples = (0..rows)
        .map(|row| SftExample::new(ids(row).collect(), vec![true; tokens]))
        .collect::<Result<Vec<_>, _>>()?;
    let config = TrainerConfig {
        // One to warm up.
        max_steps: Some(option("--steps", 3)? + 1),
        per_device_train_batch_size: rows,
        gradient_checkpointing: args.iter().any(|arg| arg == "--checkpointing"),
        ..TrainerConfig::default()
    };
    let mut seconds = Seconds::default();
    let is_full = args.iter().any(|arg| arg == "--full");
    if is_full {
        let trainer = Trainer::new(config, FullFineTuning::default())?;
        trainer.train(model.decoder_mut(), &examples, &mut [&mut seconds])?;
    } else {
        let lora = LoraConfig {
            lora_dropout: 0.0,
            ..LoraConfig::default()
        };
        let trainer = Trainer::new(config, lora)?;
        attach(model.decoder_mut(), trainer.lora(), 0)?;
        trainer.train(model.decoder_mut(), &examples, &mut [&mut seconds])?;
    }
    let mut times: Vec<f64> = seconds.0.into_iter().skip(1).collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).ok_or("no steps")?;
    let rate = (rows * tokens) as f64 / median;
    let operations = grsap_benches::operations_per_token(model.decoder());
    let operations = operations * if is_full { 1.5 } else { 1.0 };
    println!(
        r#"{{"tokens_per_second": {rate:.1}, "gflops": {:.1}, "peak_mib": {:.1}}}"#,
        1e-9 * operations * rate,
        grsap_benches::memory_mib("VmHWM")?
    );
    Ok(())
}
