use std::process::{Command, Stdio};

use super::*;

/// SHA-256 in Base64, by sha256sum(1).
fn hash(text: &str) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum of coreutils");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = output[..64].chunks(2).map(byte).collect();
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            base64.push(if i > chunk.len() { '=' } else { digit as char });
        }
    }
    base64
}

#[test]
fn the_policy_names_the_style_and_the_script_of_the_page() {
    assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    assert_eq!((hash(&style()), hash(SCRIPT)), (STYLE_HASH.into(), SCRIPT_HASH.into()));
}

#[test]
fn the_script_and_the_style_end_where_their_elements_do() {
    for text in [style(), SCRIPT.into()] {
        assert!(!text.contains("</") && !text.contains("<!--") && !text.contains('\r'));
    }
}
