//! Loads a model once and prints how long it took and the most memory that was resident, as one
//! line of JSON. `benches/peers/loading.py` runs it in turn with the peers.

#![allow(clippy::print_stdout)] // that is what it is for

use std::time::Instant;

use grsap_replay::prelude::{ChatModel, Device};

type Error = Box<dyn std::error::Error>;

fn kib(field: &str) -> Result<f64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.ok_or("this system does not say how much memory is resident")?;
    Ok(value
        .trim_start_matches(':')
        .trim_end_matches("kB")
        .trim()
        .parse()?)
}

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or("usage: load FILE-or-DIR")?;
    let before = kib("VmRSS")?;
    let start = Instant::now();
    let model = ChatModel::load(path, &Device::flex())?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = kib("VmHWM")?;
    println!(
        r#"{{"seconds": {seconds:.4}, "peak_mib": {:.1}, "growth_mib": {:.1}}}"#,
        peak / 1024.0,
        (peak - before) / 1024.0
    );
    drop(model);
    Ok(())
}
