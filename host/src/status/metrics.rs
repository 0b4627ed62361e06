//! The status for Prometheus: which metrics there are, their names, units and labels. The text format (OpenMetrics) is
//! the library's affair.
//!
//! Counters begin anew at a restart (HUP), as Prometheus expects of a process that starts.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::snapshot::{Latency, Snapshot};
use crate::tally::{CAUSES, STATUS_CLASSES, latency};

/// Of the text that [`render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters have no exemplars here, and those that there are not have a type.
type NoExemplar<'a> = Option<&'a Exemplar<[(&'static str, &'static str); 0], f64>>;

/// The whole text.
#[must_use]
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("guesthouse");
    registry.register_collector(Box::new(snapshot));
    let mut written = String::new();
    text::encode(&mut written, &registry).expect("writing to a string does not fail");
    written
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics(encoder);
        of_the_server(self, &mut metrics)?;
        of_the_pools(self, &mut metrics)?;
        of_the_modules(self, &mut metrics)
    }
}

fn of_the_server(Snapshot { server, .. }: &Snapshot, metrics: &mut Metrics<'_>) -> fmt::Result {
    let labels = [("version", server.version.as_str()), ("mpm", server.mpm.as_str())];
    metrics.info("build", "Version and MPM of the server", &labels)?;
    metrics.gauge("uptime", "Time since the server was started", Some(&Unit::Seconds), |mut metric| {
        metric.encode_gauge(&server.uptime_secs)
    })?;
    metrics.gauge("generation", "How often the configuration was taken over anew", None, |mut metric| {
        metric.encode_gauge(&server.generation)
    })?;
    metrics.counter("own_answers", "Answers that no module gave, by class of the status", None, |mut metric| {
        STATUS_CLASSES.iter().try_for_each(|class| {
            count(&mut metric, &[("class", class)], server.own_answers.get(*class).copied().unwrap_or(0))
        })
    })?;
    metrics.gauge(
        "connections",
        "Connections of clients that are open, by what they wait for",
        None,
        |mut metric| {
            let states = server.connections.by_state();
            states.iter().try_for_each(|(state, count)| metric.encode_family(&[("state", *state)])?.encode_gauge(count))
        },
    )?;
    metrics.gauge("threads", "Threads of the server's own pool", None, |mut metric| {
        let states =
            [("busy", server.threads_busy), ("idle", server.threads_idle), ("draining", server.threads_draining)];
        states.iter().try_for_each(|(state, count)| metric.encode_family(&[("state", *state)])?.encode_gauge(count))
    })
}

fn of_the_pools(snapshot: &Snapshot, metrics: &mut Metrics<'_>) -> fmt::Result {
    /// Children whose pools belong to a configuration that is no more.
    const EARLIER: &str = "(earlier)";
    metrics.gauge("children", "Child processes by pool and by what they do", None, |mut metric| {
        for pool in &snapshot.pools {
            for (state, count) in pool.children.by_state() {
                let labels = [("pool", pool.name.as_str()), ("state", state)];
                metric.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let earlier = snapshot.children.iter().filter(|child| child.pool.is_none()).count();
        metric.encode_family(&[("pool", EARLIER), ("state", "draining")])?.encode_gauge(&earlier)
    })?;
    metrics.gauge("children_max", "Child processes that a pool can have at once", None, |mut metric| {
        snapshot.pools.iter().try_for_each(|pool| {
            metric.encode_family(&[("pool", pool.name.as_str())])?.encode_gauge(&pool.children_max)
        })
    })?;
    let help = "Resident memory of child processes that is of no file";
    metrics.gauge("children_private", help, Some(&Unit::Bytes), |mut metric| {
        let mut sums = BTreeMap::new();
        for child in &snapshot.children {
            let pool = child.pool.as_deref().unwrap_or(EARLIER);
            *sums.entry(pool).or_insert(0u64) += child.memory.map_or(0, |memory| memory.private);
        }
        sums.iter().try_for_each(|(pool, sum)| metric.encode_family(&[("pool", *pool)])?.encode_gauge(sum))
    })
}

fn of_the_modules(Snapshot { modules, .. }: &Snapshot, metrics: &mut Metrics<'_>) -> fmt::Result {
    metrics.0.encode_descriptor("module", "What each module is", None, MetricType::Info).and_then(|mut metric| {
        modules.iter().try_for_each(|module| {
            metric.encode_info(&[
                ("module", module.name.as_str()),
                ("kind", &module.kind),
                ("version", module.version.as_deref().unwrap_or_default()),
                ("runs", module.runs.word()),
            ])
        })
    })?;
    metrics.counter("requests", "Requests for a module that have ended", None, |mut metric| {
        modules.iter().try_for_each(|module| count(&mut metric, &[("module", &module.name)], module.requests))
    })?;
    metrics.counter("errors", "Requests for a module that failed, by cause", None, |mut metric| {
        for module in modules {
            for cause in CAUSES {
                let labels = [("module", module.name.as_str()), ("cause", cause)];
                count(&mut metric, &labels, module.errors.get(cause).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    })?;
    let help = "From the whole head of a request to the end of its answer";
    metrics.family("request_duration", help, Some(&Unit::Seconds), MetricType::Histogram, |mut metric| {
        modules.iter().try_for_each(|module| {
            let Latency { total_secs, .. } = module.latency;
            let buckets = buckets(&module.latency);
            // What children have counted is theirs to get wrong.
            let requests = buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
            let labels = [("module", module.name.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<[(&str, &str); 0]>(total_secs, requests, &buckets, None)
        })
    })?;
    metrics.counter("guest_cpu", "CPU time of a module's guests", Some(&Unit::Seconds), |mut metric| {
        modules.iter().try_for_each(|module| {
            let labels = [("module", module.name.as_str())];
            metric.encode_family(&labels)?.encode_counter(&module.guest_cpu_secs, NoExemplar::None)
        })
    })?;
    metrics.counter("response", "Bodies of a module's answers", Some(&Unit::Bytes), |mut metric| {
        modules.iter().try_for_each(|module| count(&mut metric, &[("module", &module.name)], module.bytes))
    })?;
    metrics.counter("instances", "Instances made, and requests served by one that served before", None, |mut metric| {
        modules.iter().try_for_each(|module| {
            let name = module.name.as_str();
            count(&mut metric, &[("module", name), ("state", "made")], module.instances_made)?;
            count(&mut metric, &[("module", name), ("state", "reused")], module.instances_reused)
        })
    })
}

fn count<const N: usize>(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], value: u64) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter(&value, NoExemplar::None)
}

/// Fewer buckets than there are counters, since each is a series for the one who stores them: 1, 2 and 5 of every
/// decade. Each with its upper bound, and what is in it alone.
fn buckets(latency: &Latency) -> Vec<(f64, u64)> {
    let bounds = (0..latency::BUCKET_COUNT).filter_map(latency::bound).step_by(2).map(|bound| bound.as_secs_f64());
    let mut told: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
    for bucket in &latency.buckets {
        let upper = bucket.up_to_secs.unwrap_or(f64::INFINITY);
        let index = told.partition_point(|(bound, _)| *bound < upper);
        if let Some((_, count)) = told.get_mut(index) {
            *count = count.saturating_add(bucket.requests);
        }
    }
    told
}

struct Metrics<'a>(DescriptorEncoder<'a>);

impl Metrics<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric_type: MetricType,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        encode(self.0.encode_descriptor(name, help, unit, metric_type)?)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, encode)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, encode)
    }

    /// One of its kind, whose labels are all it tells.
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str); 2]) -> fmt::Result {
        self.family(name, help, None, MetricType::Info, |mut metric| metric.encode_info(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::snapshot;

    #[test]
    fn the_metrics_are_told_with_their_labels() {
        let text = render(snapshot());
        for line in [
            concat!("guesthouse_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",mpm=\"event\"} 1"),
            "guesthouse_uptime_seconds 3600.25",
            "guesthouse_generation 1",
            "guesthouse_own_answers_total{class=\"4xx\"} 100",
            "guesthouse_own_answers_total{class=\"5xx\"} 0",
            "guesthouse_connections{state=\"keep-alive\"} 4",
            "guesthouse_threads{state=\"idle\"} 3",
            "guesthouse_children{pool=\"counter\",state=\"busy\"} 1",
            "guesthouse_children{pool=\"(earlier)\",state=\"draining\"} 1",
            "guesthouse_children_max{pool=\"counter\"} 5",
            "guesthouse_children_private_bytes{pool=\"server\"} 6291456",
            "guesthouse_requests_total{module=\"hello\"} 1000",
            "guesthouse_errors_total{module=\"hello\",cause=\"trap\"} 3",
            "guesthouse_errors_total{module=\"counter\",cause=\"trap\"} 0",
            "guesthouse_request_duration_seconds_count{module=\"hello\"} 1000",
            "guesthouse_request_duration_seconds_sum{module=\"hello\"} 1.5",
            "guesthouse_guest_cpu_seconds_total{module=\"hello\"} 0.125",
            "guesthouse_response_bytes_total{module=\"hello\"} 1900",
            "guesthouse_instances_total{module=\"counter\",state=\"made\"} 100",
            "# UNIT guesthouse_guest_cpu_seconds seconds",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let text = render(snapshot());
        let counts: Vec<(&str, u64)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("guesthouse_request_duration_seconds_bucket{le=\""))
            .filter_map(|rest| rest.split_once("\",module=\"hello\"} "))
            .map(|(bound, count)| (bound, count.parse().unwrap()))
            .collect();
        assert!(counts.is_sorted_by_key(|(_, count)| *count));
        let at = |bound: &str| counts.iter().find(|(known, _)| *known == bound).unwrap().1;
        assert_eq!((at("0.0002"), at("0.0005"), at("0.01"), at("0.02")), (0, 990, 990, 999));
        assert_eq!((at("100.0"), at("+Inf")), (999, 1000));
    }

    #[test]
    fn what_a_module_says_of_itself_stays_within_its_quotation_marks() {
        let text = render(snapshot());
        let line = text.lines().find(|line| line.starts_with("guesthouse_module_info{module=\"hello\"")).unwrap();
        assert!(line.contains(r#"version="<script>alert(\"1\")</script>\n# TYPE x counter"#), "{line}");
        assert!(line.ends_with(",runs=\"shared\"} 1"), "{line}");
    }
}
