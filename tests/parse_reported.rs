//! Records that once gave a wrong number silently.
//!
//! Each directory of testdata/reported is one: `input.*` and truth.json with the options, the
//! total, the rows (or null where they do not matter), and whether an honest answer is enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

struct Case {
    name: String,
    inputs: Vec<PathBuf>,
    truth: Value,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reported");
    let mut cases: Vec<Case> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("truth.json").exists())
        .map(|path| {
            let truth = std::fs::read(path.join("truth.json")).unwrap();
            let mut inputs: Vec<PathBuf> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("input"))
                .collect();
            inputs.sort();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            Case { name, inputs, truth: serde_json::from_slice(&truth).unwrap() }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// What `tcptally parse` answered.
struct Answer {
    report: Option<Value>,
    status: Option<i32>,
    errors: String,
}

impl Answer {
    fn of(case: &Case) -> Answer {
        let args = case.truth["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
            .args(["parse", "--format", "json"])
            .args(args)
            .args(&case.inputs)
            .output()
            .unwrap();
        Answer {
            report: serde_json::from_slice(&output.stdout).ok(),
            status: output.status.code(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn total(&self) -> Option<u64> {
        self.report.as_ref()?["total"].as_u64()
    }

    fn is_complete(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report["complete"] == true)
    }

    fn rows(&self) -> BTreeMap<String, u64> {
        let rows = self.report.iter().flat_map(|report| report["rows"].as_array().unwrap());
        rows.map(|row| {
            let key = row["ip"].as_str().or(row["host"].as_str()).unwrap_or("null");
            (key.to_owned(), row["count"].as_u64().unwrap())
        })
        .collect()
    }

    /// Whether it is the truth, or, where that is enough, a refusal or a lower number that is
    /// called incomplete.
    fn is_right(&self, truth: &Value) -> bool {
        let total = truth["total"].as_u64().unwrap();
        let rows: Option<BTreeMap<String, u64>> =
            serde_json::from_value(truth["rows"].clone()).unwrap();
        let honest_is_enough = truth["honest_is_enough"] == true;
        let mut right = self.status == Some(0)
            && self.total() == Some(total)
            && rows.as_ref().is_none_or(|rows| *rows == self.rows());
        if right && honest_is_enough && total == 0 {
            right = !self.is_complete();
        }
        if right || !honest_is_enough {
            return right;
        }
        let refused = self.status == Some(1) && self.total().unwrap_or(0) == 0;
        let not_above = |rows: &BTreeMap<String, u64>| {
            self.rows().iter().all(|(key, n)| rows.get(key).is_some_and(|most| n <= most))
        };
        let less = self.total().is_some_and(|n| n <= total)
            && !self.is_complete()
            && rows.as_ref().is_none_or(not_above);
        refused || less
    }
}

#[test]
fn reported_records_are_counted_or_called_incomplete() {
    let cases = cases();
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let answer = Answer::of(case);
        if !answer.is_right(&case.truth) {
            wrong.push(format!(
                "{}: want {}, got {:?}, status {:?}, {}",
                case.name, case.truth, answer.report, answer.status, answer.errors
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
