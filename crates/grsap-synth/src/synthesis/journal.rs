use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use grsap_core::{GuardError, ModelError, digest_hex, folder_of};
use grsap_data::DataError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::first_difference::first_difference;
use crate::SynthError;

/// Hexadecimal digits of a key, and of a checksum.
const KEY_LEN: usize = 32;
const CHECKSUM_LEN: usize = 16;

/// Whatever the models returned, in the order in which they did.
///
/// A line is a checksum, a blank and a JSON object; the first object is the identity of the run,
/// the others are one call to a model each. A call counts when its line is on the disk. Memory is
/// needed for the keys alone; what the models returned is read back from the file.
pub(crate) struct Journal {
    state: RefCell<State>,
    recalled_seconds: Cell<f64>,
}

struct State {
    store: Store,
    path: PathBuf,
    end: u64,
    /// Where each call's line lies.
    lines: Vec<(u64, usize)>,
    /// Where each result is: the call, and the position in it.
    places: HashMap<String, (usize, usize)>,
    /// Results whose share of the time is counted.
    timed: HashSet<(usize, usize)>,
    /// The call that was read last: results are mostly asked for in the order of the file.
    last: Option<(usize, Call)>,
}

enum Store {
    File(File),
    Memory(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct Call {
    seconds: f64,
    keys: Vec<String>,
    values: Vec<Value>,
}

impl Journal {
    /// A journal that lasts as long as the run.
    pub(super) fn in_memory() -> Self {
        Self::new(Store::Memory(Vec::new()), PathBuf::new())
    }

    fn new(store: Store, path: PathBuf) -> Self {
        Self {
            state: RefCell::new(State {
                store,
                path,
                end: 0,
                lines: Vec::new(),
                places: HashMap::new(),
                timed: HashSet::new(),
                last: None,
            }),
            recalled_seconds: Cell::new(0.0),
        }
    }

    /// Opens or begins the journal at `path` for the run that `identity` describes. What a kill left
    /// of a line at the end is dropped.
    pub(crate) fn open(path: &Path, identity: &Value) -> Result<Self, SynthError> {
        let io_error = |source| io_error(path, source);
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(io_error)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(SynthError::InUse { path: path.into() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(io_error(source)),
        }
        let journal = Self::new(Store::File(file), path.to_owned());
        {
            let mut state = journal.state.borrow_mut();
            match state.scan()? {
                Some(there) => {
                    if let Some((field, there, here)) = first_difference("", &there, identity) {
                        return Err(SynthError::ConfigMismatch {
                            folder: folder.into(),
                            field,
                            there,
                            here,
                        });
                    }
                    state.truncate().map_err(io_error)?;
                }
                None => {
                    state.truncate().map_err(io_error)?;
                    let header = json!({ "identity": identity });
                    state.append(&header).map_err(io_error)?;
                    sync_folder(folder).map_err(io_error)?;
                }
            }
        }
        Ok(journal)
    }

    /// The results of a call to a model, of which only those that are not known yet are asked for.
    ///
    /// `keys` say what is asked for. `call` gets the positions of the keys that are new, each key
    /// once, and returns a result for each; `is_whole` says whether a result may be kept. When the
    /// model returns another number of results, these are handed on for the caller to complain.
    pub(crate) fn recall_or<T, E>(
        &self,
        keys: &[String],
        is_whole: impl Fn(&T) -> bool,
        call: impl FnOnce(&[usize]) -> Result<Vec<T>, E>,
    ) -> Result<Vec<T>, E>
    where
        T: Serialize + DeserializeOwned,
        E: CallError,
    {
        let failed = |source: io::Error| E::from(ModelError::backend("the journal failed", source));
        // Given back before the call: a decorator may lie around another one with the same journal.
        let state = self.state.borrow_mut();
        let mut seen = HashSet::new();
        let new: Vec<usize> = keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !state.places.contains_key(*key) && seen.insert(*key))
            .map(|(position, _)| position)
            .collect();
        drop(state);
        if !new.is_empty() {
            let start = Instant::now();
            let place = |index: usize| new.get(index).copied().unwrap_or(index);
            let results = call(&new).map_err(|error| error.placed(place))?;
            if results.len() != new.len() && results.len() == keys.len() {
                let (got, asked) = (results.len(), new.len());
                let error = format!("{got} results for {asked} inputs");
                return Err(E::from(ModelError::backend("a call to a model", error)));
            }
            if results.len() != new.len() || !results.iter().all(&is_whole) {
                return Ok(results);
            }
            let seconds = start.elapsed().as_secs_f64();
            let keys = new.iter().filter_map(|position| keys.get(*position));
            let mut state = self.state.borrow_mut();
            state
                .record(keys.cloned().collect(), &results, seconds)
                .map_err(failed)?;
        }
        let mut state = self.state.borrow_mut();
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            let (result, seconds) = state.recall(key).map_err(failed)?;
            self.recalled_seconds
                .set(self.recalled_seconds.get() + seconds);
            results.push(result);
        }
        Ok(results)
    }

    /// How long the calls of earlier runs took whose results were taken from the journal in this
    /// one. However often a result is taken, its time counts once.
    pub(super) fn recalled_seconds(&self) -> f64 {
        self.recalled_seconds.get()
    }
}

/// The error of a call, which names an input by its place.
pub(crate) trait CallError: From<ModelError> {
    fn placed(self, place: impl Fn(usize) -> usize) -> Self;
}

impl CallError for ModelError {
    fn placed(self, place: impl Fn(usize) -> usize) -> Self {
        Self::placed(self, place)
    }
}

impl CallError for GuardError {
    fn placed(self, place: impl Fn(usize) -> usize) -> Self {
        Self::placed(self, place)
    }
}

/// What identifies a result: the kind of call and all that it depends on.
pub(super) fn key<T: Serialize>(kind: &str, of: &T) -> Result<String, ModelError> {
    let bytes = serde_json::to_vec(&(kind, of))
        .map_err(|source| ModelError::backend("the journal failed", source))?;
    let mut key = digest_hex(&bytes);
    key.truncate(KEY_LEN);
    Ok(key)
}

impl State {
    /// Reads all whole lines and returns the identity of the run, if it is there.
    fn scan(&mut self) -> Result<Option<Value>, SynthError> {
        let Store::File(file) = &self.store else {
            return Ok(None);
        };
        let mut reader = BufReader::new(file.try_clone().map_err(|e| io_error(&self.path, e))?);
        let (mut identity, mut torn) = (None, None);
        let (mut offset, mut line) = (0u64, Vec::new());
        for number in 1.. {
            line.clear();
            let len = reader
                .read_until(b'\n', &mut line)
                .map_err(|e| io_error(&self.path, e))?;
            if len == 0 {
                break;
            }
            let object = parse(&line);
            match (object, torn) {
                // One call at a time is written, so only the last line can be torn.
                (_, Some(line)) => {
                    let path = self.path.clone();
                    return Err(SynthError::Journal { path, line });
                }
                // Another file is not cut to nothing.
                (None, None) if number > 1 || is_torn_header(&line) => {
                    torn = Some(number);
                    continue;
                }
                (Some(mut object), None) if number == 1 && object.get("identity").is_some() => {
                    identity = object.get_mut("identity").map(Value::take);
                }
                (_, None) if number == 1 => {
                    let path = self.path.clone();
                    return Err(SynthError::Journal { path, line: 1 });
                }
                (None, None) => {}
                (Some(object), None) => match serde_json::from_value::<Call>(object) {
                    Ok(call) => self.remember((offset, len), call.keys),
                    Err(_) => {
                        let path = self.path.clone();
                        return Err(SynthError::Journal { path, line: number });
                    }
                },
            }
            offset += len as u64;
        }
        if let Some(line) = torn {
            tracing::warn!(path = %self.path.display(), line, "a torn line of the journal is dropped");
        }
        self.end = offset;
        Ok(identity)
    }

    fn remember(&mut self, line: (u64, usize), keys: Vec<String>) {
        let call = self.lines.len();
        self.lines.push(line);
        for (position, key) in keys.into_iter().enumerate() {
            self.places.entry(key).or_insert((call, position));
        }
    }

    fn record<T: Serialize>(
        &mut self,
        keys: Vec<String>,
        values: &[T],
        seconds: f64,
    ) -> io::Result<()> {
        let values: Result<Vec<Value>, _> = values.iter().map(serde_json::to_value).collect();
        let call = Call {
            seconds,
            keys,
            values: values?,
        };
        let line = self.append(&serde_json::to_value(&call)?)?;
        // Its time passes in this run and is counted there.
        let index = self.lines.len();
        self.timed
            .extend((0..call.keys.len()).map(|position| (index, position)));
        self.remember(line, call.keys.clone());
        self.last = Some((self.lines.len() - 1, call));
        Ok(())
    }

    /// A result, and its share of the time that its call took if that is not counted yet.
    fn recall<T: DeserializeOwned>(&mut self, key: &str) -> io::Result<(T, f64)> {
        let lost = || io::Error::new(io::ErrorKind::InvalidData, "a line was changed meanwhile");
        let (call, position) = *self.places.get(key).ok_or_else(lost)?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != call) {
            let (offset, len) = *self.lines.get(call).ok_or_else(lost)?;
            let line = self.read(offset, len)?;
            let read = serde_json::from_value(parse(&line).ok_or_else(lost)?)?;
            self.last = Some((call, read));
        }
        let (index, call) = self.last.as_ref().ok_or_else(lost)?;
        let value = call.values.get(position).ok_or_else(lost)?;
        let share = if self.timed.insert((*index, position)) {
            call.seconds / call.values.len().max(1) as f64
        } else {
            0.0
        };
        Ok((T::deserialize(value)?, share))
    }

    fn append(&mut self, object: &Value) -> io::Result<(u64, usize)> {
        let line = line(object)?;
        let place = (self.end, line.len());
        let written = match &mut self.store {
            Store::Memory(bytes) => {
                bytes.extend_from_slice(&line);
                Ok(())
            }
            Store::File(file) => file
                .seek(SeekFrom::Start(self.end))
                .and_then(|_| file.write_all(&line))
                .and_then(|()| file.sync_data()),
        };
        if let Err(error) = written {
            // Best effort: the next run would drop the torn line as well.
            let _ = self.truncate();
            return Err(error);
        }
        self.end += line.len() as u64;
        Ok(place)
    }

    fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        match &mut self.store {
            Store::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let range = start..start.saturating_add(len);
                Ok(bytes.get(range).unwrap_or_default().to_vec())
            }
            Store::File(file) => {
                let mut line = vec![0; len];
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut line)?;
                Ok(line)
            }
        }
    }

    fn truncate(&mut self) -> io::Result<()> {
        match &self.store {
            Store::File(file) => file.set_len(self.end),
            Store::Memory(_) => Ok(()),
        }
    }
}

fn line(object: &Value) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(object)?;
    let mut line = checksum(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// The object of a whole line with the right checksum.
fn parse(line: &[u8]) -> Option<Value> {
    let (sum, rest) = line.split_at_checked(CHECKSUM_LEN)?;
    let json = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    if checksum(json).as_bytes() != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Whether a kill may have left this of a journal's first line: its beginning, zeros where a file system
/// had not written yet, and perhaps some bytes of what was there.
fn is_torn_header(line: &[u8]) -> bool {
    const REST: usize = 3;
    const OBJECT: &[u8] = b" {\"identity\":";
    let len = line.len();
    let sure = match len > CHECKSUM_LEN + REST {
        true => line.get(..len - REST),
        false => Some(line),
    };
    let sure = sure.unwrap_or_default();
    let written = sure.iter().take_while(|byte| **byte != 0).count();
    let (written, rest) = sure.split_at(written);
    let is_of_header = |(at, byte): (usize, &u8)| match at.checked_sub(CHECKSUM_LEN) {
        None => byte.is_ascii_hexdigit(),
        Some(at) => OBJECT.get(at).is_none_or(|expected| expected == byte),
    };
    written.iter().enumerate().all(is_of_header) && rest.iter().all(|byte| *byte == 0)
}

fn checksum(bytes: &[u8]) -> String {
    let mut sum = digest_hex(bytes);
    sum.truncate(CHECKSUM_LEN);
    sum
}

fn io_error(path: &Path, source: io::Error) -> SynthError {
    SynthError::Data(DataError::Io {
        path: path.into(),
        source,
    })
}

/// Makes a new name in `folder` last.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
