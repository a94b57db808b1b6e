//! Gives every file of the corpora in testdata/fuzz to the function of its fuzz target: on the stable compiler, and in
//! each run of the tests. `make fuzz` finds new ones.

#[path = "../../fuzz/entries.rs"]
mod entries;
mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No file takes a second alone on a CPU. The machine may be busy.
const TIME_OF_A_FILE: Duration = Duration::from_secs(60);

/// The targets that decode what the kernel writes. Miri checks these alone: it is too slow for readers of records, which
/// have no unsafe code.
const DECODERS: [&str; 5] = ["netlink", "perf_records", "perf_ring", "sockaddr", "tracepoint"];

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz")
}

fn files(target: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(corpora().join(target))
        .unwrap_or_else(|e| panic!("the corpus of {target}: {e}"));
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn no_file_of_a_corpus_makes_its_target_fail_or_hang() {
    let is_checked = |target| !cfg!(miri) || DECODERS.contains(&target);
    for (target, entry) in entries::TARGETS.into_iter().filter(|(target, _)| is_checked(*target)) {
        let files = files(target);
        assert!(files.len() >= 5, "{target} has {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let begin = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| entry(&bytes)));
            assert!(result.is_ok(), "{target} fails on {}", file.display());
            let is_in_time = cfg!(miri) || begin.elapsed() < TIME_OF_A_FILE;
            assert!(is_in_time, "{target} is too slow on {}", file.display());
        }
    }
}

/// `TCPTALLY_MUTATIONS` is how often each file is changed; `TCPTALLY_MUTATION_SEED` chooses other changes.
#[test]
#[cfg_attr(miri, ignore = "readers of records are too slow")]
fn changed_records_make_no_reader_panic_hang_or_contradict_itself() {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    };
    let rounds = number("TCPTALLY_MUTATIONS", 3);
    let mut mutator = mutate::Mutator::new(number("TCPTALLY_MUTATION_SEED", 11));
    let files: Vec<Vec<u8>> = files("records").iter().map(|file| fs::read(file).unwrap()).collect();
    for round in 0..rounds {
        for (at, file) in files.iter().enumerate() {
            let other = &files[(at + 1 + round as usize) % files.len()];
            let changed = mutator.change(file, other);
            let begin = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| entries::records(&changed)));
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("changed-record");
            if result.is_err() || begin.elapsed() > TIME_OF_A_FILE {
                fs::write(&kept, &changed).unwrap();
                panic!("put this into testdata/fuzz/records: {}", kept.display());
            }
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let mut corpora: Vec<String> = fs::read_dir(corpora())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    corpora.sort();
    assert_eq!(corpora, entries::TARGETS.map(|(name, _)| name));
    for target in corpora {
        let program = format!("fuzz/fuzz_targets/{target}.rs");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&program).exists(), "{program}");
    }
}

#[test]
fn the_target_records_has_a_selector_for_every_format() {
    let mut formats = tcptally::internals::record_formats();
    formats.sort_unstable();
    let mut selected = entries::FORMATS;
    selected.sort_unstable();
    assert_eq!(formats, selected, "put a new format at the end of FORMATS in fuzz/entries.rs");
}

#[test]
fn every_format_has_a_file_in_the_corpus_of_records() {
    let selectors: Vec<u8> =
        files("records").iter().filter_map(|file| fs::read(file).ok()?.first().copied()).collect();
    for (format, at) in entries::FORMATS.iter().zip(b'A'..) {
        assert!(selectors.contains(&at), "{format}");
    }
}
