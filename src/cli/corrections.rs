//! Suggests corrections for invalid command lines.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::name_files;

/// Prints why the command line is refused and what to write instead, and returns the exit status.
pub(crate) fn explain(error: &Error, args: &[OsString]) -> i32 {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || is_help {
        // Help and version. A closed pipe is not an error.
        let _ = error.print();
        return error.exit_code();
    }
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let mut text = brief(&error.render().to_string());
    let unknown = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    let given = match unknown {
        true => misspelt(error, &words).or_else(|| correction(&words)),
        false => correction_of_value(&words),
    };
    if let Some(correction) = given {
        // clap would suggest another word of similar spelling.
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("tip: ")).collect();
        text = kept.join("\n");
        let _ = write!(text, "\n  try: {correction}");
    }
    let own = words.first().filter(|word| COMMANDS.contains(word));
    let command = own.map(|word| format!(" {word}")).unwrap_or_default();
    let _ = write!(text, "\n  for all options: tcptally{command} --help");
    super::message::error_lines(text);
    error.exit_code()
}

const COMMANDS: [&str; 3] = ["trace", "watch", "parse"];

/// Returns clap's message without the usage, which would fill the screen, and without the advice to pass an
/// unknown option to the command, which would hide the mistake.
fn brief(text: &str) -> String {
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with("tip: to pass") || line.starts_with("For more info"))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// The command line with the command that clap thinks was meant, unless a program of that name runs.
fn misspelt(error: &Error, words: &[&str]) -> Option<String> {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::SuggestedSubcommand) else {
        return None;
    };
    let (word, rest) = words.split_first()?;
    // The most similar one is the last.
    let name = names.iter().rfind(|name| COMMANDS.contains(&name.as_str()))?;
    if runs(word) { None } else { Some(command_line(name, rest)) }
}

/// A command line of tcptally.
fn command_line(command: &str, rest: &[&str]) -> String {
    [&["tcptally", command], rest].concat().join(" ")
}

/// The command line that was probably meant where a value is refused.
fn correction_of_value(words: &[&str]) -> Option<String> {
    let value_of = |names: [&str; 2]| {
        let at = words.iter().position(|word| names.contains(word))?;
        words.get(at + 1).copied()
    };
    if let Some(name) = value_of(["-p", "--pid"]).filter(|name| is_name(name)) {
        return Some(format!("tcptally trace -p \"$(pidof {name})\""));
    }
    value_of(["-P", "--port"]).and_then(port_of_address).map(|port| format!("--port {port}"))
}

/// The command line that was probably meant where a port is given as `-p 443`, several are not separated by
/// commas, or `watch` gets a process.
fn correction_of_port(words: &[&str]) -> Option<String> {
    let (command, rest) = words.split_first()?;
    let port = rest.iter().position(|word| matches!(*word, "-P" | "--port"));
    if let Some(at) = rest.iter().position(|word| matches!(*word, "-p" | "--pid")) {
        // Beside a port, or by its long name, it is a process.
        let is_port = port.is_none() && rest[at] == "-p";
        let rest = [&rest[..at], &["--port"], &rest[at + 1..]].concat();
        return match *command {
            "watch" | "parse" if is_port => Some(command_line(command, &rest)),
            "watch" => Some(command_line("trace", &words[1..])),
            _ => None,
        };
    }
    let at = port?;
    let words = rest[at..].iter().filter(|word| !matches!(**word, "-P" | "--port"));
    let ports: Vec<&str> = words.copied().take_while(|word| is_number(word)).collect();
    (ports.len() > 1).then(|| format!("--port {}", ports.join(",")))
}

/// The command line whose command stands behind an option of it.
fn with_command_first(words: &[&str]) -> Option<String> {
    let own = words.split(|word| *word == "--").next()?;
    let at = own.iter().position(|word| COMMANDS.contains(word)).filter(|at| *at > 0)?;
    let others = [&words[..at], &words[at + 1..]].concat();
    own[0].starts_with('-').then(|| command_line(words[at], &others))
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
    if let Some(correction) = correction_of_port(words).or_else(|| with_command_first(words)) {
        return Some(correction);
    }
    match (*first, rest.first().copied()) {
        ("help", Some(command)) if COMMANDS.contains(&command) => {
            Some(format!("tcptally {command} --help"))
        }
        ("help", _) => Some("tcptally --help".to_owned()),
        ("version", None) => Some("tcptally --version".to_owned()),
        ("--port" | "-P", Some(_)) => Some(format!("tcptally watch {all}")),
        ("-p" | "--pid", Some(_)) => Some(format!("tcptally trace {all}")),
        ("trace", Some(word)) if is_number(word) => Some(format!(
            "tcptally trace --port {word}  (a port), or: tcptally trace -p {word}  (a process)"
        )),
        ("trace", Some(word)) if !word.starts_with('-') => {
            Some(start_or_attach(word, &rest.join(" ")))
        }
        ("watch", Some(word)) if is_number(word) || name_files::port_of(word).is_some() => {
            Some(format!("tcptally watch --port {word}"))
        }
        ("watch", Some(word)) if port_of_address(word).is_some() => {
            port_of_address(word).map(|port| format!("tcptally watch --port {port}"))
        }
        ("watch", Some(word)) if Path::new(word).is_file() => {
            Some(format!("tcptally parse {}", rest.join(" ")))
        }
        ("watch", Some(word)) if is_name(word) => Some(format!(
            "tcptally trace -p \"$(pidof {word})\", or with its port: tcptally watch --port PORT"
        )),
        ("parse", _) if rest.iter().any(|word| matches!(*word, "-d" | "--duration")) => {
            Some("--since TIME --until TIME  (a record has times of its own)".to_owned())
        }
        ("trace" | "watch" | "parse", _) => None,
        ("--", Some(_)) => Some(format!("tcptally trace {all}")),
        (word, _) if word.starts_with('-') => None,
        (word, _) if port_of_address(word).is_some() => {
            port_of_address(word).map(|port| format!("tcptally watch --port {port}"))
        }
        (word, _) if is_number(word) => Some(format!(
            "tcptally watch --port {word}  (a port), or: tcptally trace -p {word}  (a process)"
        )),
        (word, _) => Some(start_or_parse(word, &all)),
    }
}

/// Starts the program or reads the file of this name.
fn start_or_parse(word: &str, all: &str) -> String {
    match Path::new(word).metadata() {
        Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
            format!("tcptally trace -- {all}  (start it)")
        }
        Ok(_) => format!("tcptally parse {all}"),
        Err(_) if word.contains(['/', '.']) => {
            format!("tcptally parse {all}  (but there is no file '{word}')")
        }
        Err(_) => start_or_attach(word, all),
    }
}

/// Attaches to the program if it runs, and starts it otherwise.
fn start_or_attach(word: &str, all: &str) -> String {
    let start = format!("tcptally trace -- {all}");
    if !is_name(word) {
        return start;
    }
    let attach = format!("tcptally trace -p \"$(pidof {word})\"");
    match runs(word) {
        true => format!("{attach}  (it runs), or: {start}  (start another)"),
        false => format!("{start}  (start it), or once it runs: {attach}"),
    }
}

/// Whether a process of this name runs.
fn runs(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|p| std::fs::read_to_string(p.path().join("comm")).ok());
    names.any(|comm| comm.trim_end() == name)
}

/// Whether it may be the name of a program, and needs no quotes in a shell.
fn is_name(word: &str) -> bool {
    let is_usual = |b: u8| b.is_ascii_alphanumeric() || b"-_+".contains(&b);
    !word.starts_with('-') && !is_number(word) && word.bytes().all(is_usual) && !word.is_empty()
}

/// The port of an address such as `:443`, `localhost:443`, `[::]:443`.
fn port_of_address(word: &str) -> Option<u16> {
    let (host, port) = word.rsplit_once(':')?;
    let is_host = !host.contains('/') && (!host.contains(':') || host.starts_with('['));
    port.parse().ok().filter(|port| *port > 0 && is_host)
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
            (
                "nosuchserver",
                "tcptally trace -- nosuchserver  (start it), or once it runs: tcptally trace -p",
            ),
            ("nosuch.log", "tcptally parse nosuch.log  (but there is no file"),
            (":443", "tcptally watch --port 443"),
            ("127.0.0.1:443", "tcptally watch --port 443"),
            ("watch [::]:443", "tcptally watch --port 443"),
            ("watch https", "tcptally watch --port https"),
            ("-- ./server -x", "tcptally trace -- ./server -x"),
            ("--port 4711", "tcptally watch --port 4711"),
            ("-p 1", "tcptally trace -p 1"),
            ("trace 4711", "tcptally trace --port 4711"),
            ("trace ./server -x", "tcptally trace -- ./server -x"),
            ("watch 4711", "tcptally watch --port 4711"),
            ("trace -p 1 --json", "-F json"),
            (log, "tcptally parse "),
            (&format!("watch {log}"), "tcptally parse "),
            ("help", "tcptally --help"),
            ("help watch", "tcptally watch --help"),
            ("version", "tcptally --version"),
            ("--port 80 watch --live", "tcptally watch --port 80 --live"),
            ("-- ./server watch", "tcptally trace -- ./server watch"),
            ("watch -p 80", "tcptally watch --port 80"),
            ("parse -p 80 some.log", "tcptally parse --port 80 some.log"),
            ("watch --port 80 -p 1", "tcptally trace --port 80 -p 1"),
            ("watch --pid 1", "tcptally trace --pid 1"),
            ("watch --port 80 443", "--port 80,443"),
            ("parse -d 5m some.log", "--since TIME --until TIME"),
            ("watch --port 80 --port 443", "--port 80,443"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let given = correction(&words).unwrap_or_default();
            assert!(given.starts_with(want), "{line}: {given}");
        }
        for line in ["trace --nosuch", "parse --port 80 -p 1 some.log"] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(correction(&words), None, "{line}");
        }
        assert_eq!(
            correction_of_value(&["trace", "-p", "nginx"]).as_deref(),
            Some("tcptally trace -p \"$(pidof nginx)\"")
        );
        assert_eq!(correction_of_value(&["trace", "-p", "$(reboot)"]), None);
        assert_eq!(
            correction_of_value(&["watch", "--port", "127.0.0.1:80"]).as_deref(),
            Some("--port 80")
        );
    }
}
