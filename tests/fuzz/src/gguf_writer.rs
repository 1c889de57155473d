//! The bytes of small GGUF files.

/// Metadata and tensors, written one after another.
#[derive(Default)]
pub struct GgufWriter {
    num_entries: u64,
    num_tensors: u64,
    entries: Vec<u8>,
    infos: Vec<u8>,
    data: Vec<u8>,
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

impl GgufWriter {
    /// A value with its type number.
    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.num_entries += 1;
        self.entries.extend(string(key.as_bytes()));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self
    }

    /// An unsigned integer of 32 bits.
    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    /// A single-precision number.
    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    /// A truth value.
    pub fn boolean(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    /// A text, which need not be UTF-8.
    pub fn text(self, key: &str, value: &[u8]) -> Self {
        self.raw(key, 8, &string(value))
    }

    /// Texts, which need not be UTF-8.
    pub fn texts<T: AsRef<[u8]>>(self, key: &str, values: &[T]) -> Self {
        let mut bytes = array(8, values.len());
        for value in values {
            bytes.extend(string(value.as_ref()));
        }
        self.raw(key, 9, &bytes)
    }

    /// Signed integers of 32 bits.
    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = array(5, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// Single-precision numbers.
    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let mut bytes = array(6, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// A tensor; `sizes` are in the order of the file, the length of a row first.
    pub fn tensor(mut self, name: &str, sizes: &[u64], kind: u32, data: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.num_tensors += 1;
        self.infos.extend(string(name.as_bytes()));
        self.infos.extend((sizes.len() as u32).to_le_bytes());
        self.infos
            .extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(data);
        self
    }

    /// The file.
    pub fn build(&self, version: u32) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(self.num_tensors.to_le_bytes());
        bytes.extend(self.num_entries.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn array(kind: u32, len: usize) -> Vec<u8> {
    [kind.to_le_bytes().as_slice(), &(len as u64).to_le_bytes()].concat()
}
