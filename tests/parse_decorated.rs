//! Records as people have them: every line behind the prefix of a logger, a quotation, the output
//! of grep or a container engine, copied from a web page, or wrapped in JSON.
//!
//! The rule for every record and every decoration: the counts are those of the record itself, or
//! the input is refused, or the report is not complete and counts no more than there is.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tcptally::Connection;
use tcptally::parse::{Options, parse};

/// Makes of a line and its number what another program makes of it.
type Decoration = fn(&str, usize) -> String;

/// Larger records would show no more.
const MAX_BYTES: u64 = 16 * 1024;

/// So many records of a format, the smallest, are decorated.
const MAX_RECORDS: usize = 5;

fn clock(n: usize) -> String {
    format!("12:{:02}:{:02}", n / 60 % 60, n % 60)
}

fn html(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const DECORATIONS: &[(&str, Decoration)] = &[
    ("blanks", |l, _| format!("    {l}")),
    ("two blanks", |l, _| format!("  {l}")),
    ("tab", |l, _| format!("\t{l}")),
    ("without indentation", |l, _| l.trim_start().to_owned()),
    ("single blanks", |l, _| l.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
    ("tag of a tracker", |l, n| if n == 0 { format!("{{code:java}}{l}") } else { l.to_owned() }),
    ("tags of a page", |l, n| {
        if n == 0 { format!("<pre><code class=\"text\">{}", html(l)) } else { html(l) }
    }),
    ("trailing blanks", |l, _| format!("{l}   ")),
    ("CR", |l, _| format!("{l}\r")),
    ("quotation", |l, _| format!("> {l}")),
    ("quoted twice", |l, _| format!("> > {l}")),
    ("quoted without blank", |l, _| format!(">{l}")),
    ("prompt", |l, _| format!("$ {l}")),
    ("difference", |l, _| format!("+{l}")),
    ("list", |l, _| format!("* {l}")),
    ("dash", |l, _| format!("- {l}")),
    ("comment", |l, _| format!("# {l}")),
    ("slashes", |l, _| format!("// {l}")),
    ("table", |l, _| format!("| {l} |")),
    ("braces", |l, _| format!("{{web}} {l}")),
    ("angles", |l, _| format!("<web> {l}")),
    ("parentheses", |l, _| format!("(web) {l}")),
    ("equals", |l, _| format!("== {l}")),
    ("docker compose", |l, _| format!("web-1  | {l}")),
    ("foreman", |l, n| format!("{} web.1  | {l}", clock(n))),
    ("heroku", |l, n| format!("2026-11-26T{}.000000+00:00 app[web.1]: {l}", clock(n))),
    ("kubectl --prefix", |l, _| format!("[pod/web-5d8/nginx] {l}")),
    ("stern", |l, _| format!("web-5d8f nginx {l}")),
    ("CRI", |l, n| format!("2026-11-26T{}.123456789Z stderr F {l}", clock(n))),
    ("GitHub", |l, n| format!("2026-11-26T{}.1234567Z {l}", clock(n))),
    ("GitLab", |l, n| format!("2026-11-26T{}.123456Z 00O {l}", clock(n))),
    ("Jenkins", |l, n| format!("[2026-11-26T{}.123Z] {l}", clock(n))),
    ("supervisor", |l, n| format!("2026-11-26 {},123 DEBG 'web' stderr output: {l}", clock(n))),
    ("log4j", |l, n| format!("2026-11-26T{},123 INFO  [main] {l}", clock(n))),
    ("Loki", |l, n| format!("2026-11-26T{}Z {{app=\"web\"}} {l}", clock(n))),
    ("grep -n", |l, n| format!("{}:{l}", n + 1)),
    ("grep -Hn", |l, n| format!("logs/x.out:{}:{l}", n + 1)),
    ("grep -H", |l, _| format!("x.out:{l}")),
    ("grep -C", |l, n| format!("x.out-{}-{l}", n + 1)),
    ("findstr", |l, n| format!("C:\\logs\\x.log:{}:{l}", n + 1)),
    ("cat -n", |l, n| format!("{:6}\t{l}", n + 1)),
    ("less -N", |l, n| format!("{:7} {l}", n + 1)),
    ("pdsh", |l, _| format!("host1: {l}")),
    ("parallel --tag", |l, _| format!("host1\t{l}")),
    ("ts", |l, n| format!("Nov 26 {} {l}", clock(n))),
    ("ts %.s", |l, n| format!("{}.482910 {l}", 1_795_694_400 + n)),
    ("ts -s", |l, n| format!("00:{:02}:{:02} {l}", n / 60 % 60, n % 60)),
    ("ts ISO", |l, n| format!("2026-11-26T{} {l}", clock(n))),
    ("time in brackets", |l, n| format!("[{}] {l}", clock(n))),
    ("dmesg", |l, n| format!("[{:12.6}] {l}", 5.0 + n as f64)),
    ("syslog", |l, n| format!("Nov 26 {} myhost relay[991]: {l}", clock(n))),
    ("syslog without pid", |l, n| format!("Nov 26 {} myhost relay: {l}", clock(n))),
    ("short-iso", |l, n| format!("2026-11-26T{}+0000 myhost relay[991]: {l}", clock(n))),
    ("short-full", |l, n| format!("Thu 2026-11-26 {} UTC myhost relay[991]: {l}", clock(n))),
    ("short-monotonic", |l, n| format!("[{:12.6}] myhost relay[991]: {l}", 5000.0 + n as f64)),
    ("short-unix", |l, n| format!("{}.123456 myhost relay[991]: {l}", 1_795_694_400 + n)),
    ("RFC 3164", |l, n| format!("<13>Nov 26 {} myhost relay: {l}", clock(n))),
    ("RFC 5424", |l, n| format!("<13>1 2026-11-26T{}.123456Z myhost relay 991 - - {l}", clock(n))),
    ("Docker's JSON", |l, _| json!({"log": format!("{l}\n"), "stream": "stderr"}).to_string()),
    ("journal in JSON", |l, n| {
        let us = (1_795_694_400 + n as u64) * 1_000_000;
        json!({"__REALTIME_TIMESTAMP": us.to_string(), "MESSAGE": l}).to_string()
    }),
    ("logfmt", |l, n| {
        let text = l.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t");
        format!("time=\"2026-11-26T{}Z\" level=info msg=\"{text}\"", clock(n))
    }),
    ("GELF", |l, n| {
        json!({"version": "1.1", "host": "web", "short_message": l, "timestamp": 1_795_694_400 + n})
            .to_string()
    }),
    ("OpenTelemetry", |l, _| json!({"body": {"stringValue": l}}).to_string()),
    ("Insights", |l, _| json!({"@message": l}).to_string()),
    ("HTML", |l, _| html(l)),
    ("HTML numbers", |l, _| l.replace('"', "&#34;").replace('>', "&gt;")),
    ("no-break spaces", |l, _| l.replace(' ', "\u{a0}")),
    ("colour", |l, _| format!("\u{1b}[32m{l}\u{1b}[0m")),
    ("title", |l, _| format!("\u{1b}]0;root@host\u{7}{l}")),
    ("bracketed paste", |l, _| format!("\u{1b}[?2004l\r{l}")),
    ("progress", |l, n| format!("\rdone {n}%\r{l}")),
    ("quoted log", |l, n| format!("> Nov 26 {} {l}", clock(n))),
    ("numbered quotation", |l, n| format!("{}: > {l}", n + 1)),
    ("log of a container", |l, n| format!("web-1  | 2026-11-26T{}.1Z {l}", clock(n))),
    ("bat", |l, n| format!("{:4}   │ {l}", n + 1)),
    ("cat -A", |l, _| format!("{}$", l.replace('\t', "^I"))),
    ("code of Markdown", |l, _| format!("`{l}`")),
    ("XML", |l, _| format!("<line>{}</line>", html(l))),
    ("trailing comment", |l, _| format!("{l}   # here")),
    ("grep of a log", |l, n| format!("x.log:{}:Nov 26 {} myhost relay[9]: {l}", n + 1, clock(n))),
];

/// Makes of a text what another program makes of it.
type Wrapping = fn(&str) -> String;

/// Texts in strings, and in lists of them.
const WRAPPINGS: &[(&str, Wrapping)] = &[
    ("a string of JSON", |text| json!(text).to_string()),
    ("a result of Ansible", |text| {
        format!(
            "ok: [web] => {}\n",
            json!({"changed": true, "rc": 0, "stdout": "", "stderr": text})
        )
    }),
    ("a result of Ansible over many lines", |text| {
        let result = json!({"changed": true, "rc": 0, "stdout": text, "stdout_lines": [text]});
        format!("TASK [debug] ****\nok: [web] => {result:#}\n")
    }),
    ("a stream of Loki", |text| {
        let lines = text.lines().enumerate();
        let values: Vec<_> = lines
            .map(|(n, line)| json!([(1_795_694_400_000_000_000_u64 + n as u64).to_string(), line]))
            .collect();
        json!({"data": {"result": [{"stream": {"app": "web"}, "values": values}]}}).to_string()
    }),
    ("a table of CSV", |text| {
        let lines = text.lines().map(|line| format!("\"{}\"\n", line.replace('"', "\"\"")));
        format!("\"_raw\"\n{}", lines.collect::<String>())
    }),
    ("lines of 80 characters", |text| {
        let wrapped = |line: &str| {
            let characters: Vec<char> = line.chars().collect();
            let parts = characters.chunks(80).map(|part| part.iter().collect::<String>() + "\n");
            parts.collect::<String>()
        };
        text.lines().map(wrapped).collect()
    }),
    ("quoted-printable", |text| {
        let mut out = String::new();
        for line in text.lines() {
            let mut column = 0;
            for c in line.replace('=', "=3D").chars() {
                if column >= 73 && c != '3' && c != 'D' {
                    out.push_str("=\n");
                    column = 0;
                }
                out.push(c);
                column += 1;
            }
            out.push('\n');
        }
        out
    }),
    ("line feeds of rsyslog", |text| {
        format!(
            "Nov 26 10:00:00 myhost relay[9]: output:#012{}\n",
            text.replace('\n', "#012").replace('\t', "#011")
        )
    }),
    ("a list of Python", |text| {
        let lines: Vec<String> = text
            .lines()
            .map(|l| format!("'{}'", l.replace('\\', "\\\\").replace('\'', "\\'")))
            .collect();
        format!("[{}]\n", lines.join(", "))
    }),
    ("a list of JSON", |text| json!(text.lines().collect::<Vec<_>>()).to_string() + "\n"),
    ("a list of YAML", |text| {
        format!("log:\n{}", text.lines().map(|l| format!("  - {}\n", json!(l))).collect::<String>())
    }),
    ("one line of HTML", |text| html(text.trim_end()).replace('\n', "<br/>") + "\n"),
    ("line feeds as escapes", |text| {
        let quoted = json!(text.trim_end()).to_string();
        quoted[1..quoted.len() - 1].to_owned() + "\n"
    }),
    ("lines wrapped at blanks", |text| wrapped(text, 76, "")),
];

/// Texts of people with lines of strace, which are wrapped there.
const LETTERS: &[(&str, Wrapping)] = &[
    ("a mail", |text| wrapped(text, 72, "> ")),
    ("lines cut at 100", |text| {
        text.lines().map(|line| line.chars().take(100).collect::<String>() + "\n").collect()
    }),
    ("an indented comment", |text| wrapped(text, 90, "    // ")),
];

/// Wraps lines at blanks, as a mail program does.
fn wrapped(text: &str, width: usize, prefix: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut column = 0;
        out.push_str(prefix);
        for word in line.split(' ') {
            if column > 0 && column + word.len() > width {
                out.push('\n');
                out.push_str(prefix);
                column = 0;
            }
            if column > 0 {
                out.push(' ');
            }
            out.push_str(word);
            column += word.len() + 1;
        }
        out.push('\n');
    }
    out
}

/// What `parse` made of files.
struct Answer {
    rows: BTreeMap<String, u64>,
    total: usize,
    is_complete: bool,
    is_refused: bool,
}

fn ask(files: &[PathBuf], truth: &Value) -> Answer {
    ask_as(files, truth, None)
}

/// The same, with the format given.
fn ask_as(files: &[PathBuf], truth: &Value, format: Option<&str>) -> Answer {
    let day = truth["first"].as_str().unwrap_or("2026-11-22T").split('T').next().unwrap();
    let options = Options {
        format: format.map(str::to_owned),
        tz: Some(jiff::tz::TimeZone::UTC),
        date: day.parse().ok(),
        threads: Some(1),
        ..Options::default()
    };
    let mut sink: Vec<Connection> = Vec::new();
    let outcome = parse(files, &options, &mut sink);
    let mut rows = BTreeMap::new();
    for connection in &sink {
        let name = match (&connection.ip, &connection.host) {
            (Some(ip), _) => ip.to_string(),
            (None, host) => host.as_deref().unwrap_or_default().to_owned(),
        };
        *rows.entry(name).or_default() += 1;
    }
    Answer {
        rows,
        total: sink.len(),
        is_complete: outcome.status.is_complete(),
        is_refused: !outcome.failures.is_empty(),
    }
}

/// Records of one file of text, each with its truth.
fn records() -> Vec<(PathBuf, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    let directories = |path: &Path| -> Vec<PathBuf> {
        let all = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir()).collect()
    };
    let mut records = Vec::new();
    let size = |directory: &PathBuf| -> u64 {
        let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap());
        files.map(|file| file.metadata().unwrap().len()).max().unwrap_or(0)
    };
    let smallest = |kind: &PathBuf| {
        let mut all = directories(kind);
        all.sort_by_key(size);
        all.truncate(MAX_RECORDS);
        all
    };
    for directory in directories(&root).iter().flat_map(smallest) {
        let truth = std::fs::read(directory.join("truth.json")).unwrap();
        let truth: Value = serde_json::from_slice(&truth).unwrap();
        let [file] = &truth["files"].as_array().unwrap()[..] else { continue };
        let file = directory.join(file.as_str().unwrap());
        let small = std::fs::metadata(&file).unwrap().len() <= MAX_BYTES;
        if small && std::fs::read(&file).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok()) {
            records.push((file, truth));
        }
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    records
}

fn decorated(text: &str, decorate: Decoration) -> String {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n').enumerate();
    lines.map(|(n, line)| decorate(line, n) + "\n").collect()
}

/// Whether all connections are counted, some of them without an address, and none with another.
fn lacks_addresses(answer: &Answer, truth: &Answer) -> bool {
    let known = answer.rows.iter().filter(|(name, _)| !name.is_empty());
    let is_true = |(name, count): (&String, &u64)| truth.rows.get(name).is_some_and(|n| n >= count);
    answer.total == truth.total && known.into_iter().all(is_true)
}

/// Tells what is wrong with an answer; `None`: nothing.
fn fault(answer: &Answer, truth: &Answer) -> Option<String> {
    let right = answer.rows == truth.rows;
    let honest = !answer.is_complete && answer.total <= truth.total;
    (!right && !honest && !answer.is_refused)
        .then(|| format!("{} of {}, complete: {}", answer.total, truth.total, answer.is_complete))
}

#[test]
fn decorated_records_are_read_or_reported_incomplete() {
    let directory = tempfile::tempdir().unwrap();
    let (mut faults, mut unread, mut asked) = (Vec::new(), Vec::new(), 0);
    for (path, truth) in records() {
        let text = std::fs::read_to_string(&path).unwrap();
        let plain = ask(std::slice::from_ref(&path), &truth);
        if plain.total == 0 {
            continue;
        }
        for (name, decorate) in DECORATIONS {
            let file = directory.path().join("record");
            std::fs::write(&file, decorated(&text, *decorate)).unwrap();
            let answer = ask(&[file], &truth);
            asked += 1;
            if answer.rows != plain.rows {
                unread.push(format!("{} behind {name}", path.display()));
            }
            if let Some(fault) = fault(&answer, &plain) {
                faults.push(format!("{} behind {name}: {fault}", path.display()));
            }
        }
        for (name, wrap) in WRAPPINGS {
            let file = directory.path().join("record");
            std::fs::write(&file, wrap(&text)).unwrap();
            if let Some(fault) = fault(&ask(&[file], &truth), &plain) {
                faults.push(format!("{} in {name}: {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // That all are refused would be no wrong number, and no use.
    assert!(unread.len() * 5 < asked, "of {asked}, not read:\n{}", unread.join("\n"));
}

#[test]
fn decorated_records_are_read_in_archives_and_beside_bare_ones() {
    let directory = tempfile::tempdir().unwrap();
    let relay = DECORATIONS.iter().find(|(name, _)| *name == "syslog").unwrap().1;
    let mut faults = Vec::new();
    for (path, truth) in records() {
        let text = std::fs::read_to_string(&path).unwrap();
        let plain = ask(std::slice::from_ref(&path), &truth);
        let outer = decorated(&text, relay);
        let packed = {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(outer.as_bytes()).unwrap();
            gzip.finish().unwrap()
        };
        let archive = {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(outer.len() as u64);
            archive.append_data(&mut header, "record", outer.as_bytes()).unwrap();
            archive.into_inner().unwrap()
        };
        // What a log has before and after it was sent through another logger.
        let mixed = format!("{text}\n{outer}").into_bytes();
        for (name, bytes, times) in
            [("gzip", packed, 1), ("tar", archive, 1), ("a bare copy", mixed, 2)]
        {
            let file = directory.path().join("record");
            std::fs::write(&file, bytes).unwrap();
            let answer = ask(&[file], &truth);
            let enough = answer.total >= plain.total;
            let copies = times == 2 && enough && answer.total <= 2 * plain.total;
            if let (Some(fault), false) = (fault(&answer, &plain), copies) {
                faults.push(format!("{} in {name}: {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Logs of strace of one file of text.
fn strace_logs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/strace");
    let cases = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = cases.map(|case| case.join("log")).collect();
    let is_small = |log: &PathBuf| std::fs::metadata(log).is_ok_and(|m| m.len() <= MAX_BYTES);
    logs.retain(|log| is_small(log) && std::fs::read_to_string(log).is_ok());
    logs.sort();
    logs
}

#[test]
fn strace_logs_of_which_some_lines_are_decorated_are_counted_or_reported() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("record");
    let (mut faults, mut asked) = (Vec::new(), 0);
    for log in strace_logs() {
        let text = std::fs::read_to_string(&log).unwrap();
        let plain = ask_as(std::slice::from_ref(&log), &Value::Null, Some("strace"));
        for (name, decorate) in DECORATIONS {
            // Every second line.
            let some = |(n, line): (usize, &str)| match n % 2 {
                1 => decorate(line, n) + "\n",
                _ => format!("{line}\n"),
            };
            let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n').enumerate();
            std::fs::write(&file, lines.map(some).collect::<String>()).unwrap();
            let answer = ask_as(std::slice::from_ref(&file), &Value::Null, Some("strace"));
            asked += 1;
            if let Some(fault) = fault(&answer, &plain)
                && !lacks_addresses(&answer, &plain)
            {
                faults.push(format!("{}, {name}: {fault}", log.display()));
            }
        }
    }
    assert!(asked > 2_000, "{asked}");
    assert!(faults.is_empty(), "{} of {asked}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn strace_logs_in_other_texts_are_counted_or_reported() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("record");
    let (mut faults, mut unread, mut asked) = (Vec::new(), Vec::new(), 0);
    for log in strace_logs() {
        let text = std::fs::read_to_string(&log).unwrap();
        let plain = ask_as(std::slice::from_ref(&log), &Value::Null, Some("strace"));
        for (name, wrap) in WRAPPINGS.iter().chain(LETTERS) {
            // Python escapes the backslashes of bytes, and strace's own would be no others.
            let has_bytes = text.contains("sa_data") || text.contains("\\x");
            if name.contains("Python") && has_bytes {
                continue;
            }
            std::fs::write(&file, wrap(&text)).unwrap();
            let answer = ask_as(std::slice::from_ref(&file), &Value::Null, Some("strace"));
            asked += 1;
            if answer.rows != plain.rows {
                unread.push(format!("{} in {name}", log.display()));
            }
            if let Some(fault) =
                fault(&answer, &plain).filter(|_| !lacks_addresses(&answer, &plain))
            {
                faults.push(format!("{} in {name}: {fault}", log.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {asked}:\n{}", faults.len(), faults.join("\n"));
    assert!(unread.len() * 5 < asked, "of {asked}, not read:\n{}", unread.join("\n"));
}

/// It is too large for its text to be told from the list of its lines.
#[test]
fn a_large_result_of_ansible_is_not_counted_twice() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/strace/redis_tt/log");
    let text = std::fs::read_to_string(log).unwrap().repeat(60);
    let lines: Vec<&str> = text.lines().collect();
    let result = json!({"changed": true, "rc": 0, "stdout": text, "stdout_lines": lines});
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result");
    std::fs::write(&file, format!("TASK [debug] ****\nok: [web] => {result:#}\n")).unwrap();
    let answer = ask(&[file], &Value::Null);
    assert!(answer.total <= lines.iter().filter(|line| line.contains("accept4(")).count());
    assert!(!answer.is_complete);
}
