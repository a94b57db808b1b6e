//! [`HostPattern`]: takes the name of a machine from the path of its record.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;

/// What stands for the name in a pattern.
const PLACEHOLDER: &str = "{host}";

/// A pattern of paths: `logs/{host}.log`. `{host}` is the name, `*` is any text; neither contains a `/`.
/// The pattern is compared with the end of the path, from the beginning of a name in it on.
#[derive(Clone, Debug)]
pub struct HostPattern(Regex);

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// There is none, or more than one.
    #[error("it must contain {{host}} once, as in 'logs/{{host}}.log'")]
    Placeholder,
    /// Too long.
    #[error("it is too long")]
    TooLong,
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<HostPattern, HostPatternError> {
        let parts: Vec<&str> = text.split(PLACEHOLDER).collect();
        let [before, after] = parts[..] else { return Err(HostPatternError::Placeholder) };
        let expression = |part: &str| {
            let words: Vec<String> = part.split('*').map(regex::escape).collect();
            words.join("[^/]*")
        };
        let begin = if before.starts_with('/') { "^" } else { "(?:^|/)" };
        let before = expression(before.strip_prefix("./").unwrap_or(before));
        let whole = format!("{begin}{before}([^/]+){}$", expression(after));
        Regex::new(&whole).map(HostPattern).map_err(|_| HostPatternError::TooLong)
    }
}

impl HostPattern {
    /// The name in `path`, if the pattern matches it.
    pub(crate) fn host_of(&self, path: &Path) -> Option<Arc<str>> {
        let captures = self.0.captures(path.to_str()?)?;
        captures.get(1).map(|name| name.as_str().into())
    }
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
            ("all.tar/{host}/log", "all.tar/web1.example.com/log"),
        ] {
            assert_eq!(host(pattern, path), web1, "{pattern} {path}");
        }
        for (pattern, path) in [
            ("logs/{host}.log", "oldlogs/web1.log"),
            ("logs/{host}.log", "logs/a/web1.log"),
            ("/srv/{host}/log", "/x/srv/web1/log"),
            ("{host}.log", "web1.txt"),
        ] {
            assert_eq!(host(pattern, path), None, "{pattern} {path}");
        }
        for wrong in ["logs/*.log", "{host}/{host}", ""] {
            assert_eq!(wrong.parse::<HostPattern>().err(), Some(HostPatternError::Placeholder));
        }
    }
}
