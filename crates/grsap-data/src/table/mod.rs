mod delimited;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod row;

pub(crate) use read::read_table;
pub(crate) use row::TableRow;
