//! `--resolve` against a name server of this test, in namespaces of its own.

use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use nix::unistd::{Pid, geteuid};

use crate::support::{Gave, NOON, line, run, tcptally, wait_for};

/// The answer to a PTR question. The last but one octet of an address says how its owner behaves: 2 has a name, 3 has
/// none, 4 does not answer, 5 has one with an escape sequence, and 6 one that is a formula.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let labels = |mut rest: &[u8]| {
        let mut labels = Vec::new();
        while let Some((&length, more)) = rest.split_first().filter(|(n, _)| **n > 0) {
            let (label, more) = more.split_at(length.into());
            labels.push(String::from_utf8_lossy(label).into_owned());
            rest = more;
        }
        labels
    };
    let name = labels(&question[12..]);
    let host: &[u8] = match name[1].as_str() {
        "2" => b"web",
        "4" => return None,
        "5" => b"\x1b[31mred",
        "6" => b"=1+1",
        _ => b"",
    };
    let mut text = question[..2].to_vec();
    let code = if host.is_empty() { 3 } else { 0 };
    text.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(code == 0), 0, 0, 0, 0]);
    // One question: its name, type and class.
    let end = 12 + name.iter().map(|label| label.len() + 1).sum::<usize>() + 5;
    text.extend_from_slice(&question[12..end]);
    if code == 0 {
        let host = [host, name[0].as_bytes()].concat();
        // A pointer to the name, PTR, IN, and a minute.
        text.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60]);
        text.extend([0, host.len() as u8 + 1 + 9, host.len() as u8]);
        text.extend_from_slice(&host);
        text.extend_from_slice(b"\x07example\0");
    }
    Some(text)
}

/// Runs `f` in a network namespace whose port 53 has the name server. It gets a prefix for commands that lets them ask
/// it, and the number of questions that were asked.
fn with_name_server(f: impl FnOnce(&[String], &dyn Fn() -> usize) + Send + 'static) {
    if !geteuid().is_root() {
        eprintln!("skipped: a name server of our own needs root");
        return;
    }
    let in_namespace = move || {
        if unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_err() {
            eprintln!("skipped: this root may not make namespaces");
            return;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no ip(8)");
            return;
        }
        let server = UdpSocket::bind("127.0.0.1:53").expect("nobody else is here");
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((n, from)) = server.recv_from(&mut question) {
                counter.fetch_add(1, Ordering::SeqCst);
                if let Some(text) = answer(&question[..n]) {
                    server.send_to(&text, from).expect("loopback");
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let script = format!(
            "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/hosts && exec \"$@\"",
            write("resolv.conf", "nameserver 127.0.0.1\n"),
            write("hosts", "192.0.9.9 from-hosts\n"),
        );
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        f(&words.map(String::from), &|| asked.load(Ordering::SeqCst));
    };
    std::thread::spawn(in_namespace).join().unwrap();
}

/// tcptally behind the words of the prefix.
fn behind(prefix: &[String], args: &[&str]) -> Command {
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).arg(env!("CARGO_BIN_EXE_tcptally")).args(args);
    command.env("TZ", "UTC").env("TCPTALLY_CONFIG", "").stdin(Stdio::null());
    command
}

fn log(folder: &Path, ips: &[&str]) -> String {
    let path = folder.join("log");
    let lines: String = ips.iter().map(|ip| line(NOON, ip, 443)).collect();
    std::fs::write(&path, lines).unwrap();
    path.display().to_string()
}

fn parse(prefix: &[String], log: &str, args: &[&str]) -> Gave {
    let args = [&["parse", "--resolve"], args, &[log]].concat();
    let gave = run(&mut behind(prefix, &args));
    assert_eq!(gave.status, Some(0), "{gave:?}");
    gave
}

#[test]
fn names_of_addresses_are_in_each_format() {
    with_name_server(|prefix, asked| {
        let folder = tempfile::tempdir().unwrap();
        let twice = "192.0.2.7";
        let log =
            log(folder.path(), &[twice, twice, "192.0.3.1", "192.0.9.9", "192.0.5.1", "192.0.6.1"]);
        let gave = parse(prefix, &log, &["-F", "plain", "--by", "ip,port"]);
        let expected = "192.0.2.7 web7.example 443: 2\n192.0.3.1 unknown 443: 1\n192.0.5.1 unknown 443: 1\n\
                        192.0.6.1 unknown 443: 1\n192.0.9.9 from-hosts 443: 1\n";
        assert_eq!((gave.out.as_str(), gave.err.as_str()), (expected, ""));
        // Each address is asked for once.
        let before = asked();
        let gave = parse(prefix, &log, &["-F", "csv", "--by", "ip,port"]);
        assert_eq!(asked() - before, 4, "{gave:?}");
        assert!(gave.out.starts_with("kind,ip,name,port,count,"), "{gave:?}");
        assert!(gave.out.contains("row,192.0.2.7,web7.example,443,2,"), "{gave:?}");
        assert!(gave.out.contains("row,192.0.3.1,,443,1,"), "{gave:?}");
        let json = parse(prefix, &log, &["-F", "json"]).out;
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["rows"][0]["name"], "web7.example");
        assert_eq!(report["rows"][1]["name"], serde_json::Value::Null);
        assert_eq!(report["complete"], true);
        let gave = parse(prefix, &log, &[]);
        assert!(
            gave.out.contains("ADDRESS    NAME") && gave.out.contains("from-hosts"),
            "{gave:?}"
        );
        // Only the rows that are shown.
        let before = asked();
        parse(prefix, &log, &["-F", "plain", "--top", "1"]);
        assert_eq!(asked() - before, 1);
        // A report with names is read as one without.
        let path = folder.path().join("report");
        for form in ["json", "jsonl", "csv", "parquet"] {
            parse(prefix, &log, &["-F", form, "-o", path.to_str().unwrap()]);
            let gave = run(tcptally(&["parse", "-F", "plain", "--top", "1"]).arg(&path));
            assert_eq!(gave.out, "192.0.2.7: 2\nothers: 4\n", "{form}: {gave:?}");
        }
    });
}

#[test]
fn a_name_server_that_does_not_answer_is_named_and_the_report_is_written() {
    with_name_server(|prefix, _| {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path(), &["192.0.4.1", "192.0.2.7"]);
        let begin = Instant::now();
        let gave = parse(prefix, &log, &["-F", "json"]);
        assert!(begin.elapsed() >= Duration::from_secs(5), "it waits for the server");
        let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
        assert_eq!(report["total"], 2);
        assert!(report["rows"].to_string().contains("\"web7.example\""), "{gave:?}");
        let expected = "the names of 1 address are not known: no name server answered within 5 s";
        assert!(report["warnings"].to_string().contains(expected), "{gave:?}");
    });
}

/// The name server is asked when the report is written, not before.
#[test]
fn names_are_looked_up_when_the_server_is_not_traced_any_more() {
    with_name_server(|prefix, asked| {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        let server = "import socket, sys, threading\n\
                      s = socket.create_server(('127.0.0.1', 4711))\n\
                      print('listens', flush=True)\n\
                      def serve():\n    while True: s.accept()[0].close()\n\
                      threading.Thread(target=serve, daemon=True).start()\n\
                      sys.stdin.read()\n";
        for is_cut_off in [false, true] {
            let mut args = vec!["trace", "--resolve", "-F", "json", "-o", report.to_str().unwrap()];
            if is_cut_off {
                args.extend(["--duration", "500ms"]);
            }
            args.extend(["--", "python3", "-c", server]);
            let before = asked();
            let child = behind(prefix, &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let Ok(mut child) = child else { return };
            let mut first = String::new();
            let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
            assert_eq!(first, "listens\n");
            std::net::TcpStream::connect(("127.0.0.1", 4711)).unwrap();
            let text = wait_for("a report", || {
                if !is_cut_off {
                    // The last one may have come before the connection was seen.
                    kill(Pid::from_raw(child.id() as i32), Signal::SIGUSR1).unwrap();
                }
                let text = std::fs::read_to_string(&report).ok()?;
                (is_cut_off || text.contains("\"total\":1")).then_some(text)
            });
            assert!(!text.contains("\"name\"") && text.contains("--resolve"), "{text}");
            assert_eq!(asked(), before, "while it is traced");
            child.stdin.take().unwrap().write_all(b"end").unwrap();
            assert!(child.wait().unwrap().success());
            let text = std::fs::read_to_string(&report).unwrap();
            // 127.0.0.1 is no address that has a name here.
            assert_eq!(text.contains("\"name\":null"), !is_cut_off, "{text}");
            std::fs::remove_file(&report).unwrap();
        }
    });
}

/// A client with an address of its own, whose name is web9.example.
fn connect(port: u16) {
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let client = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(client.as_raw_fd(), &SockaddrIn::new(127, 0, 2, 9, 0)).unwrap();
    nix::sys::socket::connect(client.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
}

/// The report waits until counting has ended, and the source is gone.
#[test]
fn the_report_at_the_end_of_a_duration_has_names() {
    with_name_server(|prefix, asked| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let number = port.to_string();
        // A busy machine may not come to connect in the first of these times.
        let report = ["2s", "8s", "32s"].into_iter().find_map(|duration| {
            let before = asked();
            let args = ["watch", "--engine", "sockdiag", "--resolve", "-F", "json", "-d", duration];
            let mut watch = behind(prefix, &[&args[..], &["--port", &number]].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut began = String::new();
            let mut stderr = std::io::BufReader::new(watch.stderr.take().unwrap());
            std::io::BufRead::read_line(&mut stderr, &mut began).unwrap();
            assert!(began.contains("watching port"), "{began}");
            connect(port);
            assert_eq!(asked(), before, "while it counts");
            let output = watch.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0));
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            (report["total"] == 1).then_some(report)
        });
        let report = report.expect("a report with the client");
        assert_eq!(report["rows"][0]["name"], "web9.example", "{report}");
        assert!(!report["warnings"].to_string().contains("--resolve"), "{report}");
    });
}

#[test]
fn names_need_addresses_and_a_report_at_the_end() {
    for (args, text) in [
        (&["--by", "net"][..], "'ip' must be among the keys of --by"),
        (&["-F", "csv", "-i", "1m"], "leave --interval out"),
        (&["-F", "openmetrics"], "--resolve looks names up"),
        (&["-e"], "cannot be used with"),
    ] {
        let gave = run(&mut tcptally(&[&["parse", "--resolve", "/dev/null"], args].concat()));
        assert_eq!(gave.status, Some(2), "{gave:?}");
        assert!(gave.err.contains(text), "{gave:?}");
    }
}
