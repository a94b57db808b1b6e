//! Reads the imports of one source file: its `use` declarations and paths, without its tests.

use std::collections::BTreeMap;

/// A path as it is written, for example `["super", "line", "Line"]`. `*` ends a glob.
pub type Path = Vec<String>;

/// What a file imports and which modules it declares.
#[derive(Default)]
pub struct Source {
    /// Names of its child modules.
    pub children: Vec<String>,
    /// Names that `use` declarations bring in, with their paths.
    pub names: BTreeMap<String, Path>,
    /// Paths of globs, without the `*`.
    pub globs: Vec<Path>,
    /// Paths of private `use` declarations and in code, with their lines.
    pub uses: Vec<(Path, usize)>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Source {
    /// Reads the text of a file.
    pub fn read(text: &str) -> Source {
        let tokens = without_tests(&tokens(text));
        let mut source = Source::default();
        let mut at = 0;
        while at < tokens.len() {
            let line = tokens[at].line;
            match tokens[at].text.as_str() {
                "mod" if text_at(&tokens, at + 2) == ";" => {
                    source.children.push(tokens[at + 1].text.clone());
                    at += 3;
                }
                // `pub(in path)` imports nothing.
                "pub" if text_at(&tokens, at + 1) == "(" => {
                    at = closing(&tokens, at + 1, "(", ")");
                }
                "use" => {
                    let is_public = at > 0 && matches!(tokens[at - 1].text.as_str(), "pub" | ")");
                    let mut paths = Vec::new();
                    at = use_tree(&tokens, at + 1, Vec::new(), &mut paths);
                    for (path, alias) in paths {
                        source.add_use(path, alias, is_public, line);
                    }
                }
                _ if is_identifier(&tokens[at].text) => {
                    let mut path = vec![tokens[at].text.clone()];
                    while text_at(&tokens, at + 1) == "::"
                        && tokens.get(at + 2).is_some_and(|t| is_identifier(&t.text))
                    {
                        path.push(tokens[at + 2].text.clone());
                        at += 2;
                    }
                    at += 1;
                    if path.len() > 1 {
                        source.uses.push((path, line));
                    }
                }
                _ => at += 1,
            }
        }
        source
    }

    fn add_use(&mut self, path: Path, alias: String, is_public: bool, line: usize) {
        if alias == "*" {
            self.globs.push(path.clone());
        } else {
            self.names.insert(alias, path.clone());
        }
        if !is_public {
            self.uses.push((path, line));
        }
    }
}

/// Reads a tree such as `a::{self, b::C as D}` into its paths and the names that they get.
/// Returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    mut path: Path,
    into: &mut Vec<(Path, String)>,
) -> usize {
    loop {
        match text_at(tokens, at) {
            "{" => {
                at += 1;
                while text_at(tokens, at) != "}" {
                    at = use_tree(tokens, at, path.clone(), into);
                    if text_at(tokens, at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "*" => {
                into.push((path, "*".into()));
                return at + 1;
            }
            "::" => at += 1,
            "as" => {
                into.push((path, text_at(tokens, at + 1).to_string()));
                return at + 2;
            }
            word if is_identifier(word) => {
                // `a::{self}` is `a`.
                if word != "self" || path.is_empty() {
                    path.push(word.to_string());
                }
                at += 1;
            }
            _ => {
                if let Some(name) = path.last().cloned() {
                    into.push((path, name));
                }
                return at;
            }
        }
    }
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Leaves out the items behind an attribute that names `cfg` and `test`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if text_at(tokens, at) == "#" && text_at(tokens, at + 1) == "[" {
            let end = closing(tokens, at + 1, "[", "]");
            let words: Vec<&str> = tokens[at..end].iter().map(|t| t.text.as_str()).collect();
            at = end;
            if words.contains(&"cfg") && words.contains(&"test") && !words.contains(&"not") {
                at = item_end(tokens, at);
            }
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Where the item that begins at `at` ends.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let first = tokens[at..].iter().find(|t| matches!(t.text.as_str(), "use" | "{" | ";"));
    let is_use = first.is_some_and(|t| t.text == "use");
    while at < tokens.len() {
        match text_at(tokens, at) {
            ";" => return at + 1,
            "{" if !is_use => return closing(tokens, at, "{", "}"),
            _ => at += 1,
        }
    }
    at
}

/// The place behind the bracket that closes the one at `at`.
fn closing(tokens: &[Token], mut at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        let text = text_at(tokens, at);
        depth += usize::from(text == open);
        at += 1;
        if text == close {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    at
}

/// Splits a text into identifiers, `::` and single characters, without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut tokens) = (0, 1, Vec::new());
    while at < chars.len() {
        let end = match chars[at] {
            c if c.is_whitespace() => at + 1,
            '/' if chars.get(at + 1) == Some(&'/') => find(&chars, at, '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars, at),
            '"' => string(&chars, at),
            '\'' => character(&chars, at),
            c if c.is_alphanumeric() || c == '_' => {
                let mut end = at;
                while chars.get(end).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    end += 1;
                }
                let word: String = chars[at..end].iter().collect();
                match (word.as_str(), chars.get(end)) {
                    ("r" | "br" | "cr", Some('"' | '#')) => raw_string(&chars, end),
                    ("b" | "c", Some('"')) => string(&chars, end),
                    ("b", Some('\'')) => character(&chars, end),
                    _ => {
                        tokens.push(Token { text: word, line });
                        end
                    }
                }
            }
            ':' if chars.get(at + 1) == Some(&':') => {
                tokens.push(Token { text: "::".into(), line });
                at + 2
            }
            c => {
                tokens.push(Token { text: c.into(), line });
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn find(chars: &[char], from: usize, what: char) -> usize {
    (from..chars.len()).find(|n| chars[*n] == what).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of the string literal that begins at `at`.
fn string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of the raw string literal whose `#`s or quote begin at `at`.
fn raw_string(chars: &[char], mut at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    at += hashes;
    if chars.get(at) != Some(&'"') {
        // `r#word`
        return at;
    }
    loop {
        at = find(chars, at + 1, '"');
        let closed = chars[at..].iter().skip(1).take_while(|c| **c == '#').count() >= hashes;
        if closed || at >= chars.len() {
            return (at + 1 + hashes).min(chars.len());
        }
    }
}

/// The end of the character literal, or of the `'` of a lifetime, at `at`.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => find(chars, at + 3, '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

#[test]
fn paths_are_read_from_declarations_and_code() {
    let source = Source::read(
        r##"
        mod child;
        use crate::{a, b::{self, C as D}, e::*};
        pub use super::Shown;
        pub(in crate::hidden) use super::Hidden;
        // use crate::comment;
        #[cfg(test)]
        use crate::{only, tests};
        fn f<'a>(x: &'a str) -> char {
            let s = "crate::text"; let r = r#"crate::"raw"#; child::run(s, r);
            '"'
        }
        #[cfg(test)]
        mod tests { use crate::not_this; fn f() {} }
        fn g() { crate::last::call::<u8>(b'\'') }
        "##,
    );
    assert_eq!(source.children, ["child"]);
    let uses: Vec<String> = source.uses.iter().map(|(path, _)| path.join("::")).collect();
    let expected =
        ["crate::a", "crate::b", "crate::b::C", "crate::e", "child::run", "crate::last::call"];
    assert_eq!(uses, expected);
    assert_eq!(source.names["D"].join("::"), "crate::b::C");
    assert_eq!(source.names["Shown"].join("::"), "super::Shown");
    assert_eq!(source.globs, [["crate", "e"]]);
    assert_eq!(source.uses.last().map(|(_, line)| *line), Some(15));
}
