//! What wrong usage gets.

use crate::support::{Record, run, tcptally};

#[test]
fn a_bad_option_is_2_with_a_hint() {
    for (args, hint) in [
        (&["parse", "--port", "nosuchservice"][..], "80,443,8000-8010"),
        (&["parse", "--port", "90-80"], "the lower port first"),
        (&["parse", "--from", "example.org"], "192.0.2.0/24"),
        (&["parse", "--since", "noon"], "11:30:05"),
        (&["parse", "--since", "1130"], "@1130"),
        (&["parse", "--interval", "soon"], "1h30m"),
        (&["parse", "--by", "colour"], "possible values"),
        (&["parse", "--mask", "33"], "0 to 32"),
        (&["parse", "--since", "2026-11-22", "--until", "2026-11-21"], "is not before"),
        (&["parse", "--since", "11:30", "--until", "11:30"], "nothing would be counted"),
        (&["parse", "--type", "nosuch"], "conntrack"),
        (&["parse", "--tz", "Mars/Olympus"], "Europe/Berlin"),
        (&["parse", "--start", "11:30"], "2026-11-22 11:30"),
        (&["parse", "--max-keys", "0"], "at least 1"),
        (&["parse", "--top", "ten"], "give digits only"),
        (&["watch", "--port", "9", "--buffer", "8M"], "give digits only"),
        (&["parse", "--port", "0"], "from 1 to 65535"),
        (&["parse", "--date", "today"], "2026-11-22"),
        (&["parse", "--events", "--interval", "1m"], "--interval"),
        (&["parse", "--events", "--format", "openmetrics"], "jsonl"),
        (&["trace", "--duration", "0", "--", "true"], "90s"),
        (&["trace"], "tcptally trace -- COMMAND"),
        (&["trace", "--metrics", "0.0.0.0:9435", "--", "true"], "--metrics-allow-remote"),
        (&["trace", "--live-or-die"], "for all options: tcptally trace --help"),
        (&["trace", "-p", "nginx"], "tcptally trace -p \"$(pidof nginx)\""),
        (&["watch", "--port", "9", "--by", "pid"], "tcptally trace --port 9"),
        (&["watch", "--port", "9", "--by", "ip,comm"], "--by comm"),
        (&["trace", "--by", "bytes", "--", "true"], "'tcptally watch --port PORT' has them"),
        (&["watch", "--port", "9", "-p", "1"], "try: tcptally trace --port 9 -p 1"),
        (&["parse", "-d", "5m", "a.log"], "try: --since TIME --until TIME"),
        (&["watch", "--port", "9", "--since", "10m ago"], "has passed"),
        (&["watch", "--port", "9", "--until", "-10m"], "has passed"),
        (&["watch"], "for all options: tcptally watch --help"),
        (&["frobnicate"], "tcptally trace -- frobnicate"),
        (&["wath", "--port", "443"], "try: tcptally watch --port 443"),
        (&["prase", "a.log"], "try: tcptally parse a.log"),
        (&["help", "trace"], "try: tcptally trace --help"),
        (&["--port", "80", "watch"], "try: tcptally watch --port 80"),
        (&[], "Usage"),
    ] {
        let gave = run(&mut tcptally(args));
        assert_eq!(gave.status, Some(2), "{args:?} {gave:?}");
        assert!(gave.err.contains(hint), "{args:?} {}", gave.err);
        assert_eq!(gave.out, "", "{args:?}");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_1_and_the_others_are_counted() {
    let record = Record::small();
    let gave = run(&mut tcptally(&["parse", "-F", "plain", "/nonexistent/log", &record.path]));
    assert_eq!(gave.status, Some(1));
    assert!(gave.out.starts_with("192.0.2.7: 3\n"), "{}", gave.out);
    assert_eq!(gave.err.matches("/nonexistent/log").count(), 1, "{}", gave.err);
    let gave = run(&mut tcptally(&["parse", "-F", "json", "/nonexistent/log", &record.path]));
    let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!(report["complete"], false);
    assert!(report["warnings"][0].as_str().unwrap().contains("/nonexistent/log"), "{report}");
}

#[test]
fn an_output_that_is_also_an_input_is_refused_and_left_as_it_is() {
    let record = Record::small();
    let before = std::fs::read(&record.path).unwrap();
    let link = record.beside("link");
    std::os::unix::fs::symlink(&record.path, &link).unwrap();
    let events = ["-e", "-F", "jsonl"];
    for (output, options) in [(&record.path, &[][..]), (&record.path, &events), (&link, &events)] {
        let args = [&["parse", "-o", output, &record.path], options].concat();
        let gave = run(&mut tcptally(&args));
        assert_eq!(gave.status, Some(1), "{gave:?}");
        assert!(gave.err.contains("is also an input"), "{}", gave.err);
        let stdin = std::fs::File::open(&record.path).unwrap();
        let gave = run(tcptally(&[&["parse", "-o", output], options].concat()).stdin(stdin));
        assert!(gave.err.contains("is also an input"), "{}", gave.err);
        assert!(std::fs::read(&record.path).unwrap() == before, "{output}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named_with_one_cause() {
    let record = Record::small();
    for (output, cause) in [
        (
            "/nonexistent/report",
            "No such file or directory (os error 2); give another file with -o\n",
        ),
        ("/dev/full", "No space left on device (os error 28)\n"),
    ] {
        for events in [&[][..], &["--events"]] {
            let args = [&["parse", "-q", "-o", output, &record.path][..], events].concat();
            let gave = run(&mut tcptally(&args));
            assert_eq!(gave.status, Some(1), "{gave:?}");
            assert!(gave.err.contains(&format!("'{output}'")), "{}", gave.err);
            assert!(gave.err.ends_with(cause), "{}", gave.err);
            assert_eq!(gave.err.matches("os error").count(), 1, "{}", gave.err);
        }
    }
}

#[test]
fn pages_and_completions_are_made_from_the_options() {
    let man = run(&mut tcptally(&["man", "parse"]));
    assert!(man.out.contains(".TH TCPTALLY-PARSE 1") && man.out.contains("\\-\\-since"));
    assert!(run(&mut tcptally(&["man"])).out.contains(".TH TCPTALLY 1"));
    assert_eq!(run(&mut tcptally(&["man", "cook"])).status, Some(2));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&mut tcptally(&["completions", shell])).out.contains("max-keys"), "{shell}");
    }
    assert!(!run(&mut tcptally(&["--help"])).out.contains("completions"));
}

#[test]
fn the_help_of_h_fits_one_screen() {
    for args in [&["-h"][..], &["trace", "-h"], &["watch", "-h"], &["parse", "-h"]] {
        let help = run(tcptally(args).env("COLUMNS", "80"));
        assert_eq!(help.status, Some(0));
        let lines: Vec<&str> = help.out.lines().collect();
        assert!(lines.len() < 24, "{} lines for the prompt below:\n{}", lines.len(), help.out);
        assert!(lines.iter().all(|line| line.len() <= 80), "{}", help.out);
        assert!(help.out.contains("Examples:") && help.out.contains("--help"), "{}", help.out);
    }
}

#[test]
fn no_advice_passes_an_unknown_option_on_to_the_command() {
    for args in [&["trace", "--live-or-die"][..], &["trace", "--json"], &["trace", "-p", "1", "-z"]]
    {
        let gave = run(&mut tcptally(args));
        assert_eq!(gave.status, Some(2));
        assert!(!gave.err.contains("-- -"), "{}", gave.err);
        assert!(
            gave.err.starts_with("tcptally: ") && gave.err.lines().count() <= 4,
            "{}",
            gave.err
        );
    }
}

#[test]
fn ports_may_be_names_of_services() {
    let record = Record::small();
    assert_eq!(record.plain(&["--port", "https"]), record.plain(&["--port", "443"]));
    assert_eq!(record.plain(&["--port", "http,443"]), record.plain(&["--port", "80,443"]));
}

#[test]
fn manual_pages_have_the_usual_sections_and_please_mandoc() {
    for page in [&["man"][..], &["man", "trace"], &["man", "watch"], &["man", "parse"]] {
        let text = run(&mut tcptally(page)).out;
        for section in ["OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
            assert!(text.contains(&format!(".SH {section}\n")), "{page:?} {section}");
        }
        assert!(!text.contains("See above"), "{page:?}");
        let record = Record::new(&text);
        let mandoc =
            std::process::Command::new("mandoc").args(["-T", "lint"]).arg(&record.path).output();
        match mandoc {
            Ok(gave) => {
                assert!(
                    gave.stdout.is_empty(),
                    "{page:?} {}",
                    String::from_utf8_lossy(&gave.stdout)
                );
            }
            Err(_) => eprintln!("skipped: lint of {page:?}: there is no mandoc"),
        }
    }
}
