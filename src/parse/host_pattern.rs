//! [`HostPattern`]: takes the name of a machine from the path of its record.

use std::iter;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// What stands for the name in a pattern.
const PLACEHOLDER: &str = "{host}";

/// A pattern of paths: `logs/{host}.log`. `{host}` is the name, `*` is any text; neither contains a `/`.
/// The pattern is compared with the end of the path, from the beginning of a name in it on.
#[derive(Clone, Debug)]
pub struct HostPattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// There is none, or more than one.
    #[error("it must contain {{host}} once, as in 'logs/{{host}}.log'")]
    Placeholder,
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<HostPattern, HostPatternError> {
        if text.matches(PLACEHOLDER).count() != 1 {
            return Err(HostPatternError::Placeholder);
        }
        Ok(HostPattern(text.strip_prefix("./").unwrap_or(text).into()))
    }
}

impl HostPattern {
    /// The name in `path`, if the pattern matches it.
    pub(crate) fn host_of(&self, path: &Path) -> Option<Arc<str>> {
        let names: Vec<&str> = path.to_str()?.split('/').collect();
        let patterns: Vec<&str> = self.0.split('/').collect();
        let others = names.len().checked_sub(patterns.len())?;
        if others > 0 && self.0.starts_with('/') {
            return None;
        }
        let mut host = None;
        for (pattern, name) in patterns.into_iter().zip(&names[others..]) {
            match pattern.split_once(PLACEHOLDER) {
                Some((before, after)) => host = Some(host_in(name, before, after)?),
                None if is_match(pattern, name) => {}
                None => return None,
            }
        }
        host.map(Into::into)
    }
}

/// The host in a name of a path, between texts that match `before` and `after`. Of several, the last and longest.
fn host_in<'a>(name: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let positions = || name.char_indices().rev().map(|(at, _)| at);
    positions().filter(|start| is_match(before, &name[..*start])).find_map(|start| {
        let mut ends = iter::once(name.len()).chain(positions().take_while(|end| *end > start));
        ends.find(|end| is_match(after, &name[*end..])).map(|end| &name[start..end])
    })
}

/// Whether the pattern, in which `*` is any text, matches the whole text.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, behind)) = text.split_once(part) else { return false };
        text = behind;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_taken_from_the_end_of_the_path() {
        let host = |pattern: &str, path: &str| {
            let pattern: HostPattern = pattern.parse().unwrap();
            pattern.host_of(Path::new(path)).map(|host| host.to_string())
        };
        let web1 = Some("web1.example.com".to_owned());
        for (pattern, path) in [
            ("logs/{host}.log", "logs/web1.example.com.log"),
            ("logs/{host}.log", "./logs/web1.example.com.log"),
            ("logs/{host}.log", "/var/logs/web1.example.com.log"),
            ("{host}.log*", "/var/web1.example.com.log.gz"),
            ("/srv/{host}/*/strace.log", "/srv/web1.example.com/2026/strace.log"),
            ("./{host}/a+b", "web1.example.com/a+b"),
            ("*-*-{host}", "a-b-c-web1.example.com"),
            ("*x*-{host}-*", "/x-x-web1.example.com-2026"),
            ("é*é{host}ü", "éa/éèéweb1.example.comü"),
            ("all.tar/{host}/log", "all.tar/web1.example.com/log"),
        ] {
            assert_eq!(host(pattern, path), web1, "{pattern} {path}");
        }
        for (pattern, path) in [
            ("logs/{host}.log", "oldlogs/web1.log"),
            ("logs/{host}.log", "logs/a/web1.log"),
            ("/srv/{host}/log", "/x/srv/web1/log"),
            ("{host}.log", "web1.txt"),
            ("{host}.log", ".log"),
            ("a/{host}.log", "web1.log"),
            ("a*a{host}", "aweb1"),
        ] {
            assert_eq!(host(pattern, path), None, "{pattern} {path}");
        }
        for wrong in ["logs/*.log", "{host}/{host}", ""] {
            assert_eq!(wrong.parse::<HostPattern>().err(), Some(HostPatternError::Placeholder));
        }
    }
}
