mod picture;
mod table;
#[allow(clippy::module_inception)]
mod yields;

pub use yields::{DomainYield, Yields};
