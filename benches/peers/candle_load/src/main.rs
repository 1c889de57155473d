//! Loads a GGUF file once with candle and prints how long it took and the most memory that was
//! resident, as one line of JSON.
//!
//!     candle-load quantised|f32|generate FILE
//!
//! `quantised` is candle's usual way: the blocks stay as they are in the file. `f32` decodes every
//! tensor, which is what this library does. `generate` loads as `quantised` does and prints tokens
//! per second: a prompt of 64 tokens, then 64 single ones.

use std::collections::HashMap;
use std::fs::File;
use std::time::Instant;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (how, path) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let start = Instant::now();
    let mut file = File::open(&path)?;
    let content = Content::read(&mut file)?;
    let device = Device::Cpu;
    if how == "generate" {
        return generate(ModelWeights::from_gguf(content, &mut file, &device)?);
    }
    let kept: Box<dyn std::any::Any> = if how == "f32" {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for name in content.tensor_infos.keys() {
            let tensor = content.tensor(&mut file, name, &device)?.dequantize(&device)?;
            tensors.insert(name.clone(), tensor);
        }
        Box::new(tensors)
    } else {
        Box::new(ModelWeights::from_gguf(content, &mut file, &device)?)
    };
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: f64 = peak.unwrap_or("0").trim_end_matches("kB").trim().parse()?;
    println!(r#"{{"seconds": {seconds:.4}, "peak_mib": {:.1}}}"#, peak / 1024.0);
    drop(kept);
    Ok(())
}

fn generate(mut model: ModelWeights) -> anyhow::Result<()> {
    // What the tokens are does not matter for the time.
    let prompt: Vec<u32> = (0..64).map(|i| 100 + 7 * i).collect();
    let start = Instant::now();
    let logits = model.forward(&Tensor::new(prompt.as_slice(), &Device::Cpu)?.unsqueeze(0)?, 0)?;
    let mut token = logits.argmax(candle_core::D::Minus1)?.reshape(())?.to_scalar::<u32>()?;
    let prefill = prompt.len() as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in 0..64 {
        let input = Tensor::new(&[token], &Device::Cpu)?.unsqueeze(0)?;
        let logits = model.forward(&input, prompt.len() + i)?;
        token = logits.argmax(candle_core::D::Minus1)?.reshape(())?.to_scalar::<u32>()?;
    }
    let decode = 64.0 / start.elapsed().as_secs_f64();
    println!(r#"{{"prefill_tokens_per_second": {prefill:.1}, "decode_tokens_per_second": {decode:.1}}}"#);
    Ok(())
}
