mod read;
mod rows;
mod set;
mod tulu;

pub use read::read_safety_set;
pub use rows::{SafetyRow, SafetyRows};
pub use set::SafetySet;
pub use tulu::{Tulu3Rows, read_tulu3};
