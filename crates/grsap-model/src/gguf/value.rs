use super::cursor::Cursor;
use crate::load_error::LoadError;

/// Arrays of arrays deeper than this are refused; no known file has any.
const MAX_DEPTH: usize = 4;

/// A value in the metadata of a GGUF file. Integers of all widths are one of two kinds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// A truth value.
    Bool(bool),
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A single-precision number.
    F32(f32),
    /// A double-precision number.
    F64(f64),
    /// A text.
    String(String),
    /// Many values of one kind.
    Array(GgufArray),
}

/// An array in the metadata of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufArray {
    /// Truth values.
    Bool(Vec<bool>),
    /// Unsigned integers.
    Unsigned(Vec<u64>),
    /// Signed integers.
    Signed(Vec<i64>),
    /// Single-precision numbers.
    F32(Vec<f32>),
    /// Double-precision numbers.
    F64(Vec<f64>),
    /// Texts.
    String(Vec<String>),
    /// Arrays.
    Array(Vec<GgufArray>),
}

/// The type numbers of the format.
#[derive(Clone, Copy)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn read(cursor: &mut Cursor<'_>, field: &str) -> Result<Self, LoadError> {
        let number = cursor.u32(field)?;
        Ok(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => {
                let reason = format!("unknown value type {number}");
                return Err(LoadError::invalid(cursor.path(), field, reason));
            }
        })
    }

    /// The fewest bytes that one such value takes in the file.
    fn min_len(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

fn unsigned(cursor: &mut Cursor<'_>, kind: Kind, field: &str) -> Result<u64, LoadError> {
    Ok(match kind.min_len() {
        1 => u8::from_le_bytes(cursor.array(field)?).into(),
        2 => u16::from_le_bytes(cursor.array(field)?).into(),
        4 => u32::from_le_bytes(cursor.array(field)?).into(),
        _ => u64::from_le_bytes(cursor.array(field)?),
    })
}

fn signed(cursor: &mut Cursor<'_>, kind: Kind, field: &str) -> Result<i64, LoadError> {
    Ok(match kind.min_len() {
        1 => i8::from_le_bytes(cursor.array(field)?).into(),
        2 => i16::from_le_bytes(cursor.array(field)?).into(),
        4 => i32::from_le_bytes(cursor.array(field)?).into(),
        _ => i64::from_le_bytes(cursor.array(field)?),
    })
}

fn boolean(cursor: &mut Cursor<'_>, field: &str) -> Result<bool, LoadError> {
    match cursor.array(field)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => {
            let reason = format!("a truth value must be 0 or 1, got {other}");
            Err(LoadError::invalid(cursor.path(), field, reason))
        }
    }
}

fn f32(cursor: &mut Cursor<'_>, field: &str) -> Result<f32, LoadError> {
    Ok(f32::from_le_bytes(cursor.array(field)?))
}

fn f64(cursor: &mut Cursor<'_>, field: &str) -> Result<f64, LoadError> {
    Ok(f64::from_le_bytes(cursor.array(field)?))
}

impl GgufValue {
    /// Reads the type and the value of the metadata entry `field`.
    pub(super) fn read(cursor: &mut Cursor<'_>, field: &str) -> Result<Self, LoadError> {
        let kind = Kind::read(cursor, field)?;
        Ok(match kind {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => {
                Self::Unsigned(unsigned(cursor, kind, field)?)
            }
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => {
                Self::Signed(signed(cursor, kind, field)?)
            }
            Kind::F32 => Self::F32(f32(cursor, field)?),
            Kind::F64 => Self::F64(f64(cursor, field)?),
            Kind::Bool => Self::Bool(boolean(cursor, field)?),
            Kind::String => Self::String(cursor.string(field)?),
            Kind::Array => Self::Array(GgufArray::read(cursor, field, 1)?),
        })
    }

    /// What kind of value it is, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a truth value",
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::F32(_) | Self::F64(_) => "a number",
            Self::String(_) => "a text",
            Self::Array(_) => "an array",
        }
    }
}

impl GgufArray {
    fn read(cursor: &mut Cursor<'_>, field: &str, depth: usize) -> Result<Self, LoadError> {
        let kind = Kind::read(cursor, field)?;
        if depth > MAX_DEPTH {
            let reason = format!("arrays are nested more than {MAX_DEPTH} deep");
            return Err(LoadError::invalid(cursor.path(), field, reason));
        }
        let count = cursor.count(field, kind.min_len())?;
        fn many<T>(
            count: usize,
            mut read: impl FnMut() -> Result<T, LoadError>,
        ) -> Result<Vec<T>, LoadError> {
            (0..count).map(|_| read()).collect()
        }
        Ok(match kind {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => {
                Self::Unsigned(many(count, || unsigned(cursor, kind, field))?)
            }
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => {
                Self::Signed(many(count, || signed(cursor, kind, field))?)
            }
            Kind::F32 => Self::F32(many(count, || f32(cursor, field))?),
            Kind::F64 => Self::F64(many(count, || f64(cursor, field))?),
            Kind::Bool => Self::Bool(many(count, || boolean(cursor, field))?),
            Kind::String => Self::String(many(count, || cursor.string(field))?),
            Kind::Array => Self::Array(many(count, || Self::read(cursor, field, depth + 1))?),
        })
    }
}
