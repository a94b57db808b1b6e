//! The text of a scrape: in the media type that the scraper accepts, and with new series starting at 0.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::format::CONTENT_TYPE as OPENMETRICS;

use crate::cli::http::HttpRequest;

/// The media type of the text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of clients and ports, whose series appear while tcptally runs.
const GROWING: [&str; 2] = ["tcptally_top_connections_total{", "tcptally_port_connections_total{"];

/// Maximum number of scrapers whose series are remembered. Further scrapers get the counts at once.
const MAX_SCRAPERS: usize = 64;

/// Maximum number of series remembered for one scraper. Further series start with their counts.
const MAX_SERIES: usize = 100_000;

/// What has been shown to each scraper.
///
/// `increase()` of Prometheus is the difference of samples, so it ignores the first value of a series.
/// A client that connects 200 times between two scrapes would be invisible. So a series that is new
/// since a scraper's first scrape has the value 0 once, then its count. Scrapers are distinguished by
/// address and User-Agent. Other clients, such as curl, get the counts.
#[derive(Default)]
pub(super) struct Scrapers(HashMap<(Option<IpAddr>, String), HashSet<String>>);

impl Scrapers {
    /// Sets series that are new to the scraper to 0.
    pub(super) fn begin_at_zero(&mut self, request: &HttpRequest, text: &str) -> String {
        if !request.is_scraper {
            return text.to_owned();
        }
        let scraper = (request.client, request.user_agent.clone());
        let is_first = !self.0.contains_key(&scraper);
        if is_first && self.0.len() >= MAX_SCRAPERS {
            return text.to_owned();
        }
        let known = self.0.entry(scraper).or_default();
        let mut shown = String::with_capacity(text.len());
        for line in text.lines() {
            let series = line.rsplit_once(' ').map(|(series, _)| series);
            let series = series.filter(|s| GROWING.iter().any(|name| s.starts_with(name)));
            match series {
                Some(series) if known.len() < MAX_SERIES && known.insert(series.to_owned()) => {
                    shown.push_str(if is_first { line } else { series });
                    shown.push_str(if is_first { "" } else { " 0" });
                }
                _ => shown.push_str(line),
            }
            shown.push('\n');
        }
        shown
    }
}

/// The media type and the text in a format that the client accepts: OpenMetrics if its `Accept` header
/// names that, otherwise the text format of Prometheus.
pub(super) fn negotiate(accept: &str, openmetrics: String) -> (&'static str, String) {
    let refuses = |parameters: &str| {
        let quality = parameters.split(';').find_map(|p| p.trim().strip_prefix("q="));
        quality.and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
    };
    let accepts_openmetrics = accept.split(',').any(|range| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        media.trim() == "application/openmetrics-text" && !refuses(parameters)
    });
    if accepts_openmetrics {
        return (OPENMETRICS, openmetrics);
    }
    (PROMETHEUS, prometheus_text(&openmetrics))
}

/// OpenMetrics in the text format of Prometheus: there the name of a counter in HELP and TYPE is that
/// of its samples, and the text has no end mark.
fn prometheus_text(openmetrics: &str) -> String {
    let type_of = |line: &'_ str| -> Option<String> {
        line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned)
    };
    let counters: HashSet<String> = openmetrics.lines().filter_map(type_of).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), _) => continue,
            (Some("#"), Some(keyword), Some(name)) if counters.contains(name) => {
                let rest = words.next().unwrap_or_default();
                text.push_str(&format!("# {keyword} {name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: [u8; 4], user_agent: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            path: "/metrics".into(),
            accept: String::new(),
            user_agent: user_agent.into(),
            is_scraper: true,
            client: Some(client.into()),
        }
    }

    fn text(counts: &[(&str, u64)]) -> String {
        let line =
            |(ip, n): &(&str, u64)| format!("tcptally_top_connections_total{{ip=\"{ip}\"}} {n}\n");
        counts.iter().map(line).collect::<String>() + "tcptally_connections_total 9\n"
    }

    #[test]
    fn a_series_that_appears_later_begins_at_0_for_each_scraper() {
        let mut scrapers = Scrapers::default();
        let a = request([127, 0, 0, 1], "Prometheus/2.42.0");
        let b = request([192, 0, 2, 1], "Prometheus/2.42.0");
        let before = text(&[("192.0.2.7", 3)]);
        assert_eq!(scrapers.begin_at_zero(&a, &before), before);
        let after = text(&[("192.0.2.7", 4), ("2001:db8::1", 200)]);
        let zero = text(&[("192.0.2.7", 4), ("2001:db8::1", 0)]);
        assert_eq!(scrapers.begin_at_zero(&a, &after), zero);
        assert_eq!(scrapers.begin_at_zero(&a, &after), after);
        assert_eq!(scrapers.begin_at_zero(&b, &after), after);
        let curl = HttpRequest { is_scraper: false, ..request([127, 0, 0, 1], "curl/8") };
        assert_eq!(scrapers.begin_at_zero(&curl, &before), before);
        assert_eq!(scrapers.begin_at_zero(&curl, &after), after);
    }

    #[test]
    fn memory_for_scrapers_is_bounded() {
        let mut scrapers = Scrapers::default();
        for i in 0..=u8::MAX {
            scrapers.begin_at_zero(&request([192, 0, 2, i], ""), &text(&[]));
        }
        assert_eq!(scrapers.0.len(), MAX_SCRAPERS);
        let late = request([192, 0, 2, 255], "");
        let after = text(&[("192.0.2.7", 4)]);
        assert_eq!(scrapers.begin_at_zero(&late, &after), after);
    }

    #[test]
    fn the_form_is_what_the_client_accepts() {
        let openmetrics = "# HELP tcptally_connections Counted.\n# TYPE tcptally_connections counter\n\
                           tcptally_connections_total 9\n# TYPE tcptally_complete gauge\n\
                           tcptally_complete 1\n# EOF\n";
        let prometheus = "# HELP tcptally_connections_total Counted.\n\
                          # TYPE tcptally_connections_total counter\n\
                          tcptally_connections_total 9\n# TYPE tcptally_complete gauge\n\
                          tcptally_complete 1\n";
        let version = "application/openmetrics-text;version=1.0.0";
        for (accept, is_openmetrics) in [
            (format!("{version},{version};q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), true),
            ("application/openmetrics-text; q=0.5".into(), true),
            ("application/openmetrics-text;q=0, */*".into(), false),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1".into(), false),
            ("*/*".into(), false),
            (String::new(), false),
        ] {
            let (media, text) = negotiate(&accept, openmetrics.to_owned());
            let expected = match is_openmetrics {
                true => (OPENMETRICS, openmetrics),
                false => (PROMETHEUS, prometheus),
            };
            assert_eq!((media, text.as_str()), expected, "{accept}");
        }
    }
}
