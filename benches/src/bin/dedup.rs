//! Deduplicates rows of a file, once for each line on standard input, as `benches/peers/dedup.py` asks
//! for it. The answer is a line of JSON: seconds, and the rows that were kept.
//!
//!     dedup FILE.f32 DIM MAX_COSINE

#![allow(clippy::print_stdout)] // that is what it is for

use std::io::Write;
use std::time::Instant;

use grsap_benches::Rows;
use grsap_synth::{Candidate, Filter, SemanticDedup, SemanticDedupConfig};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, dim, max_cosine] = args.as_slice() else {
        return Err("usage: dedup FILE.f32 DIM MAX_COSINE".into());
    };
    let bytes = std::fs::read(path)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let dim: usize = dim.parse()?;
    let num_rows = values.len() / dim.max(1);
    let max_cosine = max_cosine.parse()?;
    let filter = SemanticDedup::new(Rows::new(dim, values), SemanticDedupConfig { max_cosine })?;
    for line in std::io::stdin().lines() {
        line?;
        let candidates = (0..num_rows).map(|row| {
            let row = row.to_string();
            Candidate::new(row.as_str(), "d", row.as_str())
        });
        let candidates = candidates.collect();
        let start = Instant::now();
        let filtered = filter.apply(candidates)?;
        let seconds = start.elapsed().as_secs_f64();
        let kept: Result<Vec<usize>, _> = filtered.kept.iter().map(|c| c.id.parse()).collect();
        let answer = serde_json::json!({ "seconds": seconds, "kept": kept? });
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
