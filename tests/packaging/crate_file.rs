//! The file that `cargo install` would download.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn cargo(args: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_packaged_crate_has_what_its_readme_links_and_no_test_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = cargo(&["package", "--list", "--allow-dirty", "--offline"]);
    let files: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    for file in &files {
        let unwanted = ["testdata/", "tests/", "fuzz/", "packaging/", ".ci/", ".github/"];
        assert!(!unwanted.iter().any(|folder| file.starts_with(folder)), "{file}");
    }
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
        if link.starts_with("docs/pictures/") {
            assert!(
                root.join(link).is_file(),
                "README.md shows {link}, which is not in the repository"
            );
            continue;
        }
        let is_there = |file: &String| file == link || file.starts_with(&format!("{link}/"));
        assert!(files.iter().any(is_there), "README.md links {link}, which is not in the crate");
    }
}

#[test]
fn the_packaged_crate_is_under_1_mb() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().to_str().expect("UTF-8");
    cargo(&[
        "package",
        "--no-verify",
        "--allow-dirty",
        "--offline",
        "--quiet",
        "--target-dir",
        target,
    ]);
    let name = format!("package/tcptally-{}.crate", env!("CARGO_PKG_VERSION"));
    let bytes = fs::metadata(folder.path().join(name)).expect("the crate").len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
}

#[test]
fn the_registry_would_take_the_manifest() {
    // The limits of crates.io.
    let output = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = &all["packages"][0];
    let words = |field: &str| {
        let list = package[field].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let keywords = words("keywords");
    assert!((1..=5).contains(&keywords.len()), "{keywords:?}");
    let is_valid = |word: &String| {
        word.len() <= 20 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+".contains(&b))
    };
    assert!(keywords.iter().all(is_valid), "{keywords:?}");
    assert!((1..=5).contains(&words("categories").len()));
    for field in ["description", "license", "readme", "rust_version"] {
        assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
}
