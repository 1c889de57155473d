//! Loads a model once and prints how long it took and the most memory that was resident, as one
//! line of JSON. `benches/peers/loading.py` runs it in turn with the peers.

#![allow(clippy::print_stdout)] // that is what it is for

use std::time::Instant;

use grsap_benches::memory_mib;
use grsap_replay::prelude::{ChatModel, Device};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or("usage: load FILE-or-DIR")?;
    let before = memory_mib("VmRSS")?;
    let start = Instant::now();
    let model = ChatModel::load(path, &Device::flex())?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory_mib("VmHWM")?;
    println!(
        r#"{{"seconds": {seconds:.4}, "peak_mib": {:.1}, "growth_mib": {:.1}}}"#,
        peak,
        peak - before
    );
    drop(model);
    Ok(())
}
