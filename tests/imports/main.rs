//! Checks the imports between the modules of `src/`: no cycles, and no forbidden directions. Also
//! that one folder alone depends on the architecture, and that files named in the documentation exist.
//!
//! An import is a `use` declaration or a path in code that starts with `crate`, `super`, `self` or
//! the name of a child module. An import of a re-exported name counts as an import of the module
//! that defines the name, so a `pub use` makes no dependency of its own. Code under `#[cfg(test)]`
//! is left out.

mod graph;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use graph::Graph;

/// For each part of the library, the parts that it may import.
const DIRECTIONS: [(&str, &[&str]); 10] = [
    ("sys", &[]),
    ("model", &["sys"]),
    ("time", &["model"]),
    ("filter", &["model", "time"]),
    ("count", &["model", "time", "filter"]),
    ("format", &["model", "time", "filter", "count"]),
    ("trace", &["model", "time", "filter", "sys"]),
    ("watch", &["model", "time", "filter", "sys"]),
    ("parse", &["model", "time", "filter", "sys"]),
    ("cli", &["model", "time", "filter", "count", "format", "trace", "watch", "parse", "sys"]),
];

fn library() -> Graph {
    Graph::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
}

#[test]
fn modules_import_each_other_without_cycles() {
    let graph = library();
    let cycles: Vec<String> = graph.cycles().iter().map(|c| graph.describe(c)).collect();
    assert!(
        cycles.is_empty(),
        "modules import each other in a cycle; move what they share to a module below them, \
         or a registry to a module above:\n{}",
        cycles.join("\n")
    );
}

#[test]
fn parts_of_the_library_import_only_what_is_below_them() {
    let graph = library();
    let parts: BTreeSet<&str> = graph.modules.iter().map(|m| part(m)).collect();
    let listed: BTreeSet<&str> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    // The crate root, and what is opened for tests, may import everything.
    let above = BTreeSet::from(["", "internals"]);
    assert_eq!(parts, &listed | &above, "list the new module in DIRECTIONS");
    let mut wrong = Vec::new();
    for (name, below) in DIRECTIONS {
        for ((from, to), place) in &graph.edges {
            let to_part = part(to);
            if part(from) == name && to_part != name && !below.contains(&to_part) {
                wrong.push(format!("{place}: '{from}' must not import '{to}'"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words of code that is for one architecture.
const OF_AN_ARCHITECTURE: [&str; 8] = [
    "target_arch",
    "arch::x86_64",
    "arch::aarch64",
    "X86_64",
    "AARCH64",
    "user_regs_struct",
    "libc::PTRACE_GETREG",
    "asm!",
];

/// Where it belongs.
const FOLDER_OF_ARCHITECTURES: &str = "src/sys/arch";

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn one_folder_alone_depends_on_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "examples", "benches"].iter().for_each(|f| rust_files(&root.join(f), &mut files));
    let (own, others): (Vec<_>, Vec<_>) =
        files.iter().partition(|file| file.starts_with(root.join(FOLDER_OF_ARCHITECTURES)));
    let found = |file: &Path| {
        let text = std::fs::read_to_string(file).expect("a text");
        OF_AN_ARCHITECTURE.iter().find(|word| text.contains(**word)).copied()
    };
    assert!(own.iter().any(|file| found(file).is_some()), "the words are those that are in use");
    let wrong: Vec<String> = others
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.display(), found(file)?)))
        .collect();
    assert!(wrong.is_empty(), "move to {FOLDER_OF_ARCHITECTURES}:\n{}", wrong.join("\n"));
}

#[test]
fn files_named_in_the_documentation_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).expect("the folder docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let texts = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    let mut missing = Vec::new();
    for file in docs.chain(texts) {
        let text = std::fs::read_to_string(&file).expect("a text");
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "fuzz/", "docs/"].iter().any(|p| name.starts_with(p));
            if is_path && !name.contains(['*', ' ']) && !name.contains("NAME") {
                let exists = root.join(name).exists();
                missing.extend((!exists).then(|| format!("{}: {name}", file.display())));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// `faults: a_name`, or a name alone: a test, or a file of tests.
#[test]
fn tests_named_in_the_documentation_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    let code: String =
        files.iter().map(|file| std::fs::read_to_string(file).expect("a text")).collect();
    let text = std::fs::read_to_string(root.join("docs/reliability.md")).expect("a text");
    let mut missing = Vec::new();
    let mut seen = 0;
    for words in text.split('`').skip(1).step_by(2) {
        let (group, names) = words.split_once(": ").unwrap_or(("", words));
        // Without a group, only long names are certainly those of tests.
        let is_test = |name: &str| {
            let is_word = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            is_word && (!group.is_empty() || name.matches('_').count() > 4)
        };
        for name in names.split(", ").filter(|name| is_test(name)) {
            seen += 1;
            let exists =
                code.contains(&format!("fn {name}")) || code.contains(&format!("mod {name};"));
            missing.extend((!exists).then(|| name.to_owned()));
        }
    }
    assert!(seen > 30, "only {seen} were found");
    assert!(missing.is_empty(), "docs/reliability.md names tests that do not exist: {missing:?}");
}

/// The top-level module that a module is in; empty for the crate root.
fn part(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}
