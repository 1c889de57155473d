use super::*;

fn identity(seed: u64) -> Value {
    json!({ "config": { "seed": seed } })
}

/// Asks for the squares of `numbers` and returns them with the numbers that were not known.
fn squares(journal: &Journal, numbers: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let keys: Vec<String> = numbers.iter().map(|n| key("square", n).unwrap()).collect();
    let asked = RefCell::new(Vec::new());
    let squares = journal.recall_or(
        &keys,
        |_| true,
        |new| {
            *asked.borrow_mut() = new.iter().map(|at| numbers[*at]).collect();
            Ok::<_, ModelError>(new.iter().map(|at| numbers[*at].pow(2)).collect())
        },
    );
    (squares.unwrap(), asked.into_inner())
}

const CALLS: [&[u64]; 4] = [&[1, 2, 2, 3], &[4], &[3, 5, 1], &[6, 7]];

/// A journal of [`CALLS`], with the length of the file after each.
fn written(path: &Path) -> Vec<u64> {
    let journal = Journal::open(path, &identity(1)).unwrap();
    let len = || fs::metadata(path).unwrap().len();
    let mut lens = vec![len()];
    for numbers in CALLS {
        squares(&journal, numbers);
        lens.push(len());
    }
    lens
}

#[test]
fn only_what_is_new_is_asked_for_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/journal.jsonl");
    for journal in [
        Journal::open(&path, &identity(1)).unwrap(),
        Journal::in_memory(),
    ] {
        let (results, asked) = squares(&journal, &[1, 2, 2, 3]);
        assert_eq!((results, asked), (vec![1, 4, 4, 9], vec![1, 2, 3]));
        let (results, asked) = squares(&journal, &[3, 5, 1]);
        assert_eq!((results, asked), (vec![9, 25, 1], vec![5]));
        assert_eq!(journal.recalled_seconds(), 0.0, "all of it was called now");
    }
    let again = Journal::open(&path, &identity(1)).unwrap();
    let (results, asked) = squares(&again, &[5, 4, 2]);
    assert_eq!((results, asked), (vec![25, 16, 4], vec![4]));
    let seconds = again.recalled_seconds();
    assert!(seconds > 0.0);
    squares(&again, &[5, 4, 2]);
    assert_eq!(again.recalled_seconds(), seconds, "time is counted once");
}

#[test]
fn a_journal_cut_at_any_byte_has_the_whole_lines_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    let lens = written(&path);
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, *lens.last().unwrap());
    let torn = folder.path().join("torn");
    for cut in 0..=whole.len() {
        // What a file system may leave behind the last byte that was written.
        let rest = [&b""[..], b"\0\0\0", b"\xff{\n"][cut % 3];
        // In so short a file only zeros are sure not to be somebody's.
        let rest = if cut < 20 { &b"\0"[..cut % 2] } else { rest };
        let mut bytes = whole[..cut].to_vec();
        bytes.extend_from_slice(rest);
        fs::write(&torn, bytes).unwrap();
        let journal = Journal::open(&torn, &identity(1)).unwrap();
        let num_whole = lens.iter().filter(|len| **len <= cut as u64).count();
        for (index, numbers) in CALLS.iter().enumerate() {
            let (results, asked) = squares(&journal, numbers);
            let expected: Vec<u64> = numbers.iter().map(|n| n * n).collect();
            assert_eq!(results, expected);
            assert_eq!(asked.is_empty(), index + 1 < num_whole, "cut at {cut}");
        }
        drop(journal);
        let again = Journal::open(&torn, &identity(1)).unwrap();
        for numbers in CALLS {
            assert_eq!(squares(&again, numbers).1, [0; 0], "cut at {cut}");
        }
    }
}

#[test]
fn damage_before_whole_lines_is_no_torn_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let lens = written(&path);
    let whole = fs::read(&path).unwrap();
    for (byte, line) in [
        (3, 1),
        (lens[0] + 30, 2),
        (lens[1] - 1, 2),
        (lens[2] + 1, 4),
    ] {
        let mut bytes = whole.clone();
        bytes[byte as usize] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Journal::open(&path, &identity(1)).err().unwrap();
        assert!(
            matches!(error, SynthError::Journal { line: found, .. } if found == line),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is lost");
    }
    fs::write(&path, &whole[..]).unwrap();
    let error = Journal::open(&path, &identity(2)).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("begun with config.seed = 1, but now it is 2"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn another_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    written(&path);
    let whole = fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let crlf = text.replace('\n', "\r\n");
    let without_header = text.split_once('\n').unwrap().1;
    // Two lines that are no longer whole at the end are no torn write.
    let two = text.trim_end_matches('\n').replace("}\n", "} \n");
    let last_two = format!("{}\n{{\n}}\n", text.trim_end());
    for (bytes, line) in [
        ("{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n", 1),
        ("{\"prompt\":\"a\"}", 1),
        ("notes", 1),
        ("cat\n", 1),
        ("42 is it\n", 1),
        (crlf.as_str(), 1),
        (without_header, 1),
        (two.as_str(), 1),
        (last_two.as_str(), CALLS.len() + 2),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Journal::open(&path, &identity(1)).err().unwrap();
        assert!(
            matches!(error, SynthError::Journal { line: found, .. } if found == line),
            "{bytes}: {error}"
        );
        assert_eq!(
            error.to_string().contains("no journal"),
            line == 1,
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes.as_bytes());
    }
}

/// The journal knows some of a batch already.
#[test]
fn errors_of_calls_name_the_place_in_the_batch() {
    let journal = Journal::in_memory();
    let keys: Vec<String> = [1, 2, 3].map(|n| key("k", &n).unwrap()).into();
    journal
        .recall_or(&keys[..1], |_| true, |_| Ok::<_, ModelError>(vec![1u8]))
        .unwrap();
    let too_long = |_: &[usize]| {
        Err::<Vec<u8>, _>(ModelError::TooLong {
            index: 1,
            num_tokens: 9,
            limit: 8,
        })
    };
    let error = journal.recall_or(&keys, |_| true, too_long).unwrap_err();
    assert!(error.to_string().starts_with("input 2 "), "{error}");
    let fitted = |_: &[usize]| Err::<Vec<u8>, _>(GuardError::FittedOn { index: 0 });
    let error = journal.recall_or(&keys, |_| true, fitted).unwrap_err();
    assert!(
        matches!(error, GuardError::FittedOn { index: 1 }),
        "{error}"
    );
    // As many results as were asked for in all are not taken for those that were missing.
    let three = journal.recall_or(&keys, |_| true, |_| Ok::<_, ModelError>(vec![1u8, 2, 3]));
    assert!(three.is_err());
}

#[test]
fn one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let first = Journal::open(&path, &identity(1)).unwrap();
    let error = Journal::open(&path, &identity(1)).err().unwrap();
    assert!(matches!(error, SynthError::InUse { .. }), "{error}");
    drop(first);
    assert!(Journal::open(&path, &identity(1)).is_ok());
}

#[test]
fn what_is_not_whole_is_handed_on_and_not_kept() {
    let journal = Journal::in_memory();
    let keys = [key("k", &1).unwrap(), key("k", &2).unwrap()];
    let short = journal.recall_or(&keys, |_| true, |_| Ok::<_, ModelError>(vec![1u8]));
    assert_eq!(short.unwrap(), [1]);
    let bad = journal.recall_or(&keys, |n| *n > 5, |_| Ok::<_, ModelError>(vec![9u8, 1]));
    assert_eq!(bad.unwrap(), [9, 1]);
    let failed = journal.recall_or(
        &keys,
        |_: &u8| true,
        |_| Err(ModelError::backend("the machine", "power cut")),
    );
    assert!(failed.is_err());
    let good = journal.recall_or(
        &keys,
        |_| true,
        |new| {
            assert_eq!(new, [0, 1]);
            Ok::<_, ModelError>(vec![3u8, 4])
        },
    );
    assert_eq!(good.unwrap(), [3, 4]);
}
