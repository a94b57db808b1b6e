//! The commands in the workflows, the Makefile and the documents exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of a folder with one of these endings, also in its folders.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_ours = name == ".github" || !name.starts_with('.');
            if is_ours && name != "target" && name != "testdata" {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// Lines that stand for commands: of a workflow the steps, of a document the code.
fn commands() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(root(), &[".yml", ".md"], &mut paths);
    let in_text = Regex::new("`([^`]+)`").unwrap();
    let mut commands = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let is_workflow = path.extension().is_some_and(|ending| ending == "yml");
        let mut is_block = false;
        for line in read(&name).lines() {
            is_block ^= line.starts_with("```");
            let trimmed = line.trim_start();
            let is_command = match is_workflow {
                true => trimmed.starts_with("- run:") || trimmed.starts_with("run:"),
                false => is_block || line.starts_with("    "),
            };
            if is_command {
                commands.push((name.clone(), line.to_owned()));
            } else if !is_workflow {
                let code = in_text.captures_iter(line).map(|c| c[1].to_owned());
                commands.extend(code.map(|code| (name.clone(), code)));
            }
        }
    }
    for line in read("Makefile").lines() {
        commands.push(("Makefile".into(), line.to_owned()));
    }
    commands
}

/// What a pattern finds in the commands and is not in `known`.
fn unknown(pattern: &str, known: impl Fn(&str) -> bool) -> (usize, Vec<String>) {
    let pattern = Regex::new(pattern).unwrap();
    let mut seen = 0;
    let mut unknown = Vec::new();
    for (place, line) in commands() {
        for found in pattern.captures_iter(&line) {
            seen += 1;
            if !known(&found[1]) {
                unknown.push(format!("{place}: {}", line.trim()));
            }
        }
    }
    (seen, unknown)
}

#[test]
fn each_make_target_in_workflows_and_documents_exists() {
    let rule = Regex::new("(?m)^([a-z0-9-]+):").unwrap();
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        rule.captures_iter(&makefile).map(|c| c.get(1).unwrap().as_str()).collect();
    assert!(targets.contains("lint"), "{targets:?}");
    let first_word = r"(?:^|[\s;&|])make +(?:[A-Z_]+=\S+ +)*([a-z][a-z0-9-]*)";
    let (seen, unknown) = unknown(first_word, |target| targets.contains(target));
    assert!(seen > 20, "only {seen} were found");
    assert!(unknown.is_empty(), "no such target:\n{}", unknown.join("\n"));
}

#[test]
fn each_test_example_and_bench_in_a_command_exists() {
    let manifest = read("Cargo.toml");
    let exists = |name: &str| {
        let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        let others = [format!("examples/{name}.rs"), format!("examples/{name}/main.rs")];
        places.iter().chain(&others).any(|path| root().join(path).exists())
            || manifest.contains(&format!("name = \"{name}\""))
    };
    let options = r"--(?:test|example|bench) +([a-z_]+)";
    let (seen, unknown) = unknown(options, exists);
    assert!(seen > 8, "only {seen} were found");
    assert!(unknown.is_empty(), "no such test, example or bench:\n{}", unknown.join("\n"));
}

#[test]
fn each_file_of_the_project_in_a_workflow_exists() {
    let path =
        Regex::new(r"(?:^|\s)((?:contrib|packaging|testdata|tests|docs|benches)/\S+)").unwrap();
    let mut seen = 0;
    for (place, line) in commands().into_iter().filter(|(place, _)| place.contains("workflows/")) {
        for found in path.captures_iter(&line) {
            seen += 1;
            assert!(root().join(&found[1]).exists(), "{place}: there is no {}", &found[1]);
        }
    }
    assert!(seen > 1, "only {seen} were found");
}

#[test]
fn the_oldest_compiler_is_the_same_everywhere() {
    let manifest = read("Cargo.toml");
    let oldest = Regex::new(r#"(?m)^rust-version = "([0-9.]+)""#).unwrap();
    let oldest = oldest.captures(&manifest).expect("a rust-version")[1].to_owned();
    let ci = read(".github/workflows/ci.yml");
    assert!(ci.contains(&format!("rustup toolchain install {oldest} ")));
    assert!(ci.contains(&format!("cargo +{oldest} ")));
    assert!(read("README.md").contains(&format!("Rust toolchain ({oldest} or later)")));
    assert!(read("CONTRIBUTING.md").contains(&format!("Rust {oldest} or newer")));
}
