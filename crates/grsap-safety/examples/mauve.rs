//! Compares two files of vectors: `mauve P.f32 Q.f32 DIM [SEED]`, little-endian `f32`, one row behind the other.
//!
//! Prints one JSON object: MAUVE with scaling factor 2, nearest neighbours, and the seconds that
//! each took.

#![allow(clippy::print_stdout)] // that is what it is for

use std::time::Instant;

use grsap_safety::{Features, Mauve, MauveConfig, Neighbours};

type Error = Box<dyn std::error::Error>;

fn read(path: &str) -> Result<Vec<f32>, Error> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("{path} does not consist of f32").into());
    }
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (p, q, dim, seed) = match args.as_slice() {
        [p, q, dim] => (p, q, dim, MauveConfig::default().seed),
        [p, q, dim, seed] => (p, q, dim, seed.parse()?),
        _ => return Err("expected: P.f32 Q.f32 DIM [SEED]".into()),
    };
    let (p, q, dim) = (read(p)?, read(q)?, dim.parse()?);
    let (p, q) = (Features::new(&p, dim)?, Features::new(&q, dim)?);
    let config = MauveConfig {
        seed,
        ..MauveConfig::default()
    };

    let start = Instant::now();
    let mauve = Mauve::new(p, q, &config)?;
    let mauve_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let neighbours = Neighbours::new(p, q, 5)?;
    let json = serde_json::json!({
        "mauve": mauve.mauve,
        "mauve_star": mauve.mauve_star,
        "frontier_integral": mauve.frontier_integral,
        "num_buckets": mauve.num_buckets,
        "dim": mauve.dim,
        "neighbours": neighbours,
        "mauve_seconds": mauve_seconds,
        "neighbours_seconds": start.elapsed().as_secs_f64(),
    });
    println!("{json}");
    Ok(())
}
