//! Corrections of command lines that clap refuses: what the user probably meant.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::model::text::printable_lines;
use clap::error::{Error, ErrorKind};

/// Prints why the command line is refused and what to write instead, and returns the exit status.
pub(crate) fn explain(error: &Error, args: impl Iterator<Item = OsString>) -> i32 {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let unknown = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    let Some(correction) = correction(&words).filter(|_| unknown) else {
        if error.use_stderr() {
            print(error);
        } else {
            // Help and version. A closed pipe is not an error.
            let _ = error.print();
        }
        return error.exit_code();
    };
    let text = error.render().to_string();
    // clap's tips would pass the word to a started command, or suggest another word.
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("tip:")).collect();
    super::message::error_lines(format_args!(
        "{}\n\n  try: {correction}",
        kept.join("\n").trim_end()
    ));
    error.exit_code()
}

/// Prints an error as clap words it. It repeats arguments, which may be file names.
fn print(error: &Error) {
    let rendered = error.render();
    let is_safe = printable_lines(&rendered.to_string()) == rendered.to_string();
    // A failure to write to stderr is ignored.
    let _ = match is_safe {
        true => error.print(),
        false => write!(std::io::stderr(), "{}", printable_lines(&rendered.to_string())),
    };
}

/// The command line that was probably meant.
fn correction(words: &[&str]) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let formats = ["--json", "--jsonl", "--csv", "--plain"];
    let own = words.iter().take_while(|word| **word != "--");
    if let Some(format) = own.into_iter().find(|word| formats.contains(word)) {
        return Some(format!("-F {}", format.trim_start_matches('-')));
    }
    let all = words.join(" ");
    match (*first, rest.first()) {
        ("--port" | "-P", Some(_)) => Some(format!("tcptally watch {all}")),
        ("-p" | "--pid", Some(_)) => Some(format!("tcptally trace {all}")),
        ("trace", Some(word)) if is_number(word) => Some(format!(
            "tcptally trace --port {word}  (a port), or: tcptally trace -p {word}  (a process)"
        )),
        ("trace", Some(word)) if !word.starts_with('-') => {
            Some(format!("tcptally trace -- {}", rest.join(" ")))
        }
        ("watch", Some(word)) if is_number(word) => Some(format!("tcptally watch --port {word}")),
        ("trace" | "watch" | "parse", _) => None,
        (word, _) if word.starts_with('-') => None,
        (word, _) if is_number(word) => Some(format!(
            "tcptally watch --port {word}  (a port), or: tcptally trace -p {word}  (a process)"
        )),
        (word, _) => Some(match Path::new(word).metadata() {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
                format!("tcptally trace -- {all}  (start it)")
            }
            Ok(_) => format!("tcptally parse {all}"),
            Err(_) => format!(
                "tcptally trace -p \"$(pidof {word})\"  (it runs), or: tcptally trace -- {all}  \
                 (start it)"
            ),
        }),
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_mistakes_have_a_correction() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("strace.log");
        std::fs::write(&log, "").unwrap();
        let log = log.to_str().unwrap();
        for (line, want) in [
            ("4711", "tcptally watch --port 4711"),
            ("nginx", "tcptally trace -p \"$(pidof nginx)\""),
            ("--port 4711", "tcptally watch --port 4711"),
            ("-p 1", "tcptally trace -p 1"),
            ("trace 4711", "tcptally trace --port 4711"),
            ("trace ./server -x", "tcptally trace -- ./server -x"),
            ("watch 4711", "tcptally watch --port 4711"),
            ("trace -p 1 --json", "-F json"),
            (log, "tcptally parse "),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let given = correction(&words).unwrap_or_default();
            assert!(given.starts_with(want), "{line}: {given}");
        }
        assert_eq!(correction(&["trace", "--nosuch"]), None);
    }
}
