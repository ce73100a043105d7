//! Metrics as text: what Prometheus has always read, and OpenMetrics where that is asked for.
//!
//! Invariant: both tell the same samples under the same names. They differ in what stands above
//! them: OpenMetrics calls a counter `x` whose sample is `x_total`, the older format calls it `x_total`.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// A format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposition {
    /// The Prometheus text format, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What an `Accept` header wants most; the Prometheus format where it leaves the choice.
    pub(super) fn accepted(header: Option<&str>) -> Self {
        let header = header.unwrap_or_default().to_ascii_lowercase();
        let weight = |wanted: &[&str]| {
            let of = header.split(',').filter_map(|range| weighed(range, wanted));
            of.fold(None, |most: Option<f32>, q| Some(most.map_or(q, |most| most.max(q))))
        };
        let open = weight(&["application/openmetrics-text"]).unwrap_or(0.0);
        let plain = weight(&["text/plain"]).or_else(|| weight(&["text/*"]));
        let plain = plain.or_else(|| weight(&["*/*"])).unwrap_or(0.0);
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// All metrics of a registry.
    pub(super) fn write(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut open = String::new();
        text::encode(&mut open, registry)?;
        match self {
            Self::OpenMetrics => Ok(open),
            Self::Prometheus => prometheus(&open),
        }
    }
}

/// The weight of a media range, where it is one of these.
fn weighed(range: &str, wanted: &[&str]) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let q = parts.find_map(|part| part.strip_prefix("q="));
    wanted.contains(&name).then(|| q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
}

/// OpenMetrics text in the older format.
fn prometheus(open: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = named(kind);
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                writeln!(out, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(out, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

/// What a metric's samples are called behind its name, and its type.
fn named(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "unknown" => ("", "untyped"),
        kind => ("", kind),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::*;

    /// Scenario: what Prometheus of several ages, its like, browsers and nobody in particular send.
    /// Guarantees: OpenMetrics for who wants it at least as much, the older format for everybody else.
    #[test]
    fn accept_chooses_the_format() {
        let check = |header, expected| {
            assert_eq!(Exposition::accepted(header), expected, "{header:?}");
        };
        check(None, Exposition::Prometheus);
        check(Some("*/*"), Exposition::Prometheus);
        check(Some("text/plain;version=0.0.4"), Exposition::Prometheus);
        check(Some("text/html,application/xhtml+xml,*/*;q=0.8"), Exposition::Prometheus);
        let newest = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(Some(newest), Exposition::OpenMetrics);
        check(Some("application/openmetrics-text"), Exposition::OpenMetrics);
        check(Some("application/openmetrics-text; q=0.2, text/plain"), Exposition::Prometheus);
        check(Some("application/openmetrics-text;q=0, */*"), Exposition::Prometheus);
    }

    /// Scenario: a counter with a unit, a gauge and an info in either format.
    /// Guarantees: the samples are the same; the older format types each by the name of its samples.
    #[test]
    fn both_tell_the_same_samples() {
        let mut registry = Registry::default();
        registry.register_with_unit(
            "sent",
            "What was sent",
            Unit::Bytes,
            Counter::<u64>::default(),
        );
        registry.register("files", "Files", Gauge::<i64>::default());
        registry.register("build", "What runs", Info::new([("version", "1")]));
        let open = Exposition::OpenMetrics.write(&registry).unwrap();
        let plain = Exposition::Prometheus.write(&registry).unwrap();
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&open), samples(&plain));
        assert_eq!(
            plain,
            "# HELP sent_bytes_total What was sent.\n# TYPE sent_bytes_total counter\n\
             sent_bytes_total 0\n# HELP files Files.\n# TYPE files gauge\nfiles 0\n\
             # HELP build_info What runs.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n"
        );
    }
}
