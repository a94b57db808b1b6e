//! The HTML report in headless Chromium.

mod driver;

use std::path::PathBuf;
use std::process::Command;

use driver::Browser;
use tempfile::TempDir;

/// Epoch seconds of 2026-11-22T11:30:00Z.
const START: u64 = 1_795_347_000;

/// An accept in a log of strace.
fn accept(seconds: u64, ip: &str, comm: &str) -> String {
    format!(
        "12 <{comm}> {seconds}.000000 accept(3, {{sa_family=AF_INET, sin_port=htons(4000), \
         sin_addr=inet_addr(\"{ip}\")}}, [16]) = 4\n"
    )
}

/// Writes a report on a log and returns its place.
fn report(log: &str, options: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("log"), folder.path().join("report.html"));
    std::fs::write(&from, log).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .args(["parse", "-q", "-F", "html", "-o"])
        .arg(&to)
        .args(options)
        .arg(&from)
        .env("TZ", "UTC")
        .status()
        .unwrap();
    assert!(status.success());
    (folder, to)
}

/// 60 minutes: 192.0.2.1 once per minute, 192.0.2.N in the Nth minute, 10.0.0.9 in the last one.
fn hour() -> String {
    let minute = |m: u64| {
        let at = START + 60 * m;
        let other = accept(at + 1, &format!("192.0.2.{}", m + 2), "nginx");
        accept(at, "192.0.2.1", "nginx") + &other
    };
    (0..60).map(minute).collect::<String>() + &accept(START + 3599, "10.0.0.9", "nginx")
}

fn first_cells(browser: &Browser) -> Vec<String> {
    browser.texts("#rows tbody tr:nth-child(-n+3) td:first-child")
}

#[test]
fn a_click_sorts_the_table_and_a_filter_selects_rows() {
    let Some(browser) = Browser::start(true, false) else { return };
    let (_folder, file) = report(&hour(), &[]);
    browser.open(&file, 1200, 1000);
    assert_eq!(browser.texts("h1"), ["121 connections from 62 addresses"]);
    assert_eq!(browser.texts(".state"), ["✓\nComplete: no connection is known to be missing."]);
    assert_eq!(
        browser.texts("#rows tbody tr:first-child"),
        ["192.0.2.1 60 49.6% 11:30:00 12:29:00"]
    );
    assert_eq!(browser.texts("#rows tbody tr").len(), 50);
    browser.click("#rows th:first-child button");
    assert_eq!(first_cells(&browser), ["10.0.0.9", "192.0.2.1", "192.0.2.2"]);
    browser.click("#rows th:first-child button");
    assert_eq!(first_cells(&browser), ["192.0.2.61", "192.0.2.60", "192.0.2.59"]);
    assert_eq!(browser.run("return document.querySelector('#rows th').ariaSort"), "descending");
    browser.click("#pages button:last-child");
    assert_eq!(browser.texts("#rows tbody tr:last-child td:first-child"), ["10.0.0.9"]);
    browser.click("#rows th:nth-child(5) button");
    assert_eq!(first_cells(&browser)[0], "10.0.0.9", "the last one came last");
    for (filter, count) in
        [("10.0.0.0/8", 1), ("192.0.2.16/28", 16), ("192.0.2.5", 11), ("none", 0)]
    {
        browser.type_into("#filter", filter);
        let found = browser.texts("#found").remove(0);
        assert!(found.starts_with(&format!("{count} row")), "{filter}: {found}");
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_drag_over_the_timeline_counts_a_part_of_the_time() {
    let Some(browser) = Browser::start(true, false) else { return };
    let (_folder, file) = report(&hour(), &["-i", "1m"]);
    browser.open(&file, 1200, 1000);
    browser.drag("#chart .bars", 0.251, 0.499);
    let range = browser.texts("#range").remove(0);
    assert!(range.starts_with("2026-11-22 11:45:00 to 12:00:00 UTC: 30 connections."), "{range}");
    assert_eq!(browser.texts("#found"), ["16 rows, 30 connections"]);
    assert!(browser.texts("#rows tbody tr")[0].starts_with("192.0.2.1 15 50.0%"));
    browser.click("#range button");
    assert_eq!(browser.texts("#found"), ["62 rows"]);
    browser.press("#chart", "\u{E014}");
    let tip = browser.texts("#tip").remove(0);
    assert!(tip.contains("2 connections") && tip.contains("192.0.2.1"), "{tip}");
    assert!(browser.texts("#intervals tbody tr").len() == 60);
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Names of threads, as `/proc/PID/comm` may have them, and of hosts.
#[test]
fn a_hostile_name_does_nothing() {
    let Some(browser) = Browser::start(true, false) else { return };
    let names = [
        "<script>document.title='evil'</script>",
        "</script><img src=x onerror=\"document.title='evil'\">",
        "</td></table><iframe src='javascript:parent.document.title=1'>",
        "'\"><svg onload=alert(1)>",
        "<!--<script>",
        "&lt;b&gt; \u{202e}",
    ];
    let events: String = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let event = serde_json::json!({
                "time": format!("2026-11-22T11:30:0{i}Z"), "host": name, "comm": name,
                "local_port": 443, "peer_ip": "192.0.2.7",
            });
            format!("{event}\n")
        })
        .collect();
    let (_folder, file) = report(&events, &["--by", "comm,host", "--host", names[1], "-i", "1s"]);
    browser.open(&file, 1200, 1000);
    assert!(browser.run("return document.title").as_str().unwrap().starts_with("6 connections"));
    let made =
        "return document.querySelectorAll('img, iframe, b, body script ~ script ~ script').length";
    assert_eq!(browser.run(made), 0);
    let mut shown = browser.texts("#rows tbody td:first-child");
    shown.sort_unstable();
    let mut expected: Vec<String> =
        names.iter().map(|n| n.replace('\u{202e}', r"\u{202e}")).collect();
    expected.sort_unstable();
    // The browser leaves out white space, which no name begins with.
    assert_eq!(shown, expected);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_can_be_read_without_javascript() {
    let Some(browser) = Browser::start(false, false) else { return };
    let (_folder, file) = report(&hour(), &[]);
    browser.open(&file, 1200, 1000);
    assert_eq!(browser.texts("h1"), ["121 connections from 62 addresses"]);
    assert_eq!(browser.texts("#rows tbody tr").len(), 62);
    assert_eq!(browser.texts("#tools, #pages"), ["", ""], "what cannot work is hidden");
    assert!(browser.texts("#chart svg text").contains(&"12:00".to_owned()));
}

#[test]
fn a_hundred_thousand_rows_sort_within_a_second_or_two() {
    let Some(browser) = Browser::start(true, false) else { return };
    let line = |i: u64| {
        accept(START + i / 100, &format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255), "x")
    };
    let (_folder, file) = report(&(0..100_000).map(line).collect::<String>(), &[]);
    browser.open(&file, 1200, 1000);
    assert_eq!(browser.texts("#found"), ["100,000 rows"]);
    let milliseconds = browser.run(
        "const start = performance.now(); document.querySelector('#rows th button').click(); \
         return performance.now() - start;",
    );
    eprintln!("100,000 rows sorted by address in {milliseconds} ms");
    assert_eq!(first_cells(&browser), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    browser.type_into("#filter", "10.1.0.0/16");
    assert!(browser.texts("#found")[0].starts_with("34,464 rows"), "{:?}", browser.texts("#found"));
}

#[test]
fn nothing_is_wider_than_the_window() {
    for dark in [false, true] {
        let Some(browser) = Browser::start(true, dark) else { return };
        let long = accept(START, "192.0.2.7", &"w".repeat(15)).repeat(3);
        let (_folder, file) = report(&(hour() + &long), &["--by", "ip,comm,port"]);
        let mut backgrounds = Vec::new();
        for width in [1200, 500] {
            browser.open(&file, width, 900);
            let wide = "return document.documentElement.scrollWidth - window.innerWidth";
            assert!(browser.run(wide).as_i64().unwrap() <= 0, "{width}");
            backgrounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
            assert!(browser.screenshot().len() > 10_000);
        }
        let expected = if dark { "rgb(14, 19, 24)" } else { "rgb(255, 255, 255)" };
        assert_eq!(backgrounds, [expected; 2]);
    }
}
