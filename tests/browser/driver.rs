//! Drives headless Chromium by the WebDriver protocol of chromedriver(1).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a browser of ours needs: no sandbox for root, no connection to anywhere.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser with one window. It ends when this is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser, or says why the test is skipped.
    pub fn start(javascript: bool, dark: bool) -> Option<Browser> {
        let installed = ["chromium", "chromedriver"].into_iter().all(|program| {
            Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
        });
        if !installed {
            eprintln!("skipped: chromium and chromedriver are not installed");
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok()
        });
        // Nothing else is read, and the pipe must stay open.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = ARGUMENTS.map(String::from).into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)));
        let mut browser =
            Browser { driver, port: port.unwrap(), session: String::new(), _profile: profile };
        let prefs = json!({"profile.managed_default_content_settings.javascript": if javascript { 1 } else { 2 }});
        let started = browser.send(
            "POST",
            "",
            &json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments, "prefs": prefs},
                    "goog:loggingPrefs": {"browser": "ALL"}}}}),
        );
        browser.session = format!("/{}", started["sessionId"].as_str().unwrap());
        Some(browser)
    }

    /// Sends a command of the session and returns its value.
    fn send(&self, method: &str, command: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        write!(
            stream,
            "{method} /session{}{command} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.session,
            body.len()
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["value"]["error"].is_null(), "{command}: {}", answer["value"]);
        answer["value"].clone()
    }

    /// Opens a file in a window of this size.
    pub fn open(&self, file: &Path, width: u32, height: u32) {
        self.send("POST", "/window/rect", &json!({"width": width, "height": height}));
        self.send("POST", "/url", &json!({"url": format!("file://{}", file.display())}));
    }

    /// Runs a function body in the page and returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.send("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The texts of all elements that a selector finds, as they are rendered.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let found =
            self.send("POST", "/elements", &json!({"using": "css selector", "value": selector}));
        let id = |e: &Value| {
            e.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
        };
        let text = |e: &Value| self.send("GET", &format!("/element/{}/text", id(e)), &Value::Null);
        found.as_array().unwrap().iter().map(|e| text(e).as_str().unwrap().to_owned()).collect()
    }

    /// Clicks the first element that a selector finds.
    pub fn click(&self, selector: &str) {
        let id = self.element(selector);
        self.send("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Types into the first element that a selector finds.
    pub fn type_into(&self, selector: &str, text: &str) {
        let id = self.element(selector);
        self.send("POST", &format!("/element/{id}/clear"), &json!({}));
        self.send("POST", &format!("/element/{id}/value"), &json!({"text": text}));
    }

    /// Drags over an element, from one part of its width to another.
    pub fn drag(&self, selector: &str, from: f64, to: f64) {
        let rect =
            format!("const r = document.querySelector('{selector}').getBoundingClientRect(); ");
        let at = |part: f64| {
            let point = self.run(&format!(
                "{rect} return [Math.round(r.left + r.width * {part}), Math.round(r.top + r.height / 2)];"
            ));
            (point[0].clone(), point[1].clone())
        };
        let (a, b) = (at(from), at(to));
        let moved =
            |(x, y): &(Value, Value)| json!({"type": "pointerMove", "duration": 0, "x": x, "y": y});
        self.send("POST", "/actions", &json!({"actions": [{"type": "pointer", "id": "mouse", "actions": [
            moved(&a), {"type": "pointerDown", "button": 0}, moved(&b), {"type": "pointerUp", "button": 0}]}]}));
    }

    /// Presses a key.
    pub fn press(&self, selector: &str, key: &str) {
        let id = self.element(selector);
        self.send("POST", &format!("/element/{id}/value"), &json!({"text": key}));
    }

    fn element(&self, selector: &str) -> String {
        let query = json!({"using": "css selector", "value": selector});
        let found = self.send("POST", "/element", &query);
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().into()
    }

    /// What the page wrote to the console: errors, and what the policy refused.
    pub fn console(&self) -> Vec<String> {
        let log = self.send("POST", "/se/log", &json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap().to_owned()).collect()
    }

    /// A picture of the window as PNG, in Base64.
    pub fn screenshot(&self) -> String {
        self.send("GET", "/screenshot", &Value::Null).as_str().unwrap().into()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends Chromium, also when the test has failed and chromedriver answers no more.
            let _ = catch_unwind(AssertUnwindSafe(|| self.send("DELETE", "", &Value::Null)));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
