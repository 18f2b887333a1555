//! The metrics (manual, section 8): one table of every one of them, filled from an [`Overview`] when somebody asks.

use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use stockade_policy::supervision::WorkerState;

use super::{ledger, reading::Reading, status::Overview};
use crate::control::status::{PoolStatus, WorkerStatus};

/// The Content-Type of [`text`].
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// One metric: its name, what it is, and what it says of a pool.
struct Row {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    of: fn(&Reading) -> Vec<Sample>,
}

/// A value and its labels besides `pool`.
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

enum Value {
    Number(f64),
    Histogram(ledger::Histogram),
}

/// Every metric as Prometheus reads it.
pub(super) fn text(overview: &Overview) -> Result<Vec<u8>, prometheus::Error> {
    let families: Vec<MetricFamily> = ROWS
        .iter()
        .map(|row| family(row, overview))
        .chain([build_info(overview)])
        // one without a pool has nothing to say
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

const ROWS: &[Row] = &[
    Row {
        name: "stockade_requests_total",
        help: "Requests answered, by the status of the answer.",
        kind: MetricType::COUNTER,
        of: |pool| {
            labelled(
                "code",
                pool.codes
                    .iter()
                    .map(|(code, count)| (code.to_string(), whole(*count))),
            )
        },
    },
    Row {
        name: "stockade_request_seconds",
        help: "From a request's arrival to the end of its answer.",
        kind: MetricType::HISTOGRAM,
        of: |pool| histogram(&pool.request),
    },
    Row {
        name: "stockade_queue_wait_seconds",
        help: "From a request's arrival to its hand-out to a worker.",
        kind: MetricType::HISTOGRAM,
        of: |pool| histogram(&pool.queue_wait),
    },
    Row {
        name: "stockade_queue_length",
        help: "Requests that wait for a slot.",
        kind: MetricType::GAUGE,
        of: |pool| one(f64::from(pool.status.queue.length)),
    },
    Row {
        name: "stockade_slots",
        help: "Room for requests in ready workers.",
        kind: MetricType::GAUGE,
        of: |pool| {
            let slots = pool.status.slots;
            let states = [("busy", slots.busy), ("idle", slots.idle)];
            labelled(
                "state",
                states.map(|(state, count)| (state.to_owned(), f64::from(count))),
            )
        },
    },
    Row {
        name: "stockade_workers",
        help: "Workers, by what they are about.",
        kind: MetricType::GAUGE,
        of: workers,
    },
    Row {
        name: "stockade_worker_starts_total",
        help: "Workers started.",
        kind: MetricType::COUNTER,
        of: |pool| one(whole(pool.lives.starts)),
    },
    Row {
        name: "stockade_worker_exits_total",
        help: "Workers gone, by cause.",
        kind: MetricType::COUNTER,
        of: |pool| {
            labelled(
                "cause",
                pool.lives
                    .exits
                    .iter()
                    .map(|(cause, count)| (cause.clone(), whole(*count))),
            )
        },
    },
    Row {
        name: "stockade_worker_startup_seconds",
        help: "From a worker's launch until it was ready.",
        kind: MetricType::HISTOGRAM,
        of: |pool| histogram(&pool.startup),
    },
    Row {
        name: "stockade_replays_total",
        help: "Requests given to another worker after the first one died.",
        kind: MetricType::COUNTER,
        of: |pool| one(whole(pool.status.replays_total)),
    },
    Row {
        name: "stockade_refused_total",
        help: "Requests refused with 503, and connections that `allowed-clients` does not allow, by cause.",
        kind: MetricType::COUNTER,
        of: |pool| {
            labelled(
                "cause",
                pool.status
                    .refused
                    .iter()
                    .map(|(cause, count)| (cause.clone(), whole(*count))),
            )
        },
    },
    Row {
        name: "stockade_worker_resident_bytes",
        help: "Resident memory of a worker; `worker` is its place in the pool, which is used again.",
        kind: MetricType::GAUGE,
        of: |pool| by_place(pool, resident),
    },
    Row {
        name: "stockade_worker_cpu_seconds_total",
        help: "Processor time of a worker; `worker` is its place in the pool, which is used again.",
        kind: MetricType::COUNTER,
        of: |pool| by_place(pool, |worker| worker.cpu_seconds),
    },
    Row {
        name: "stockade_pool_memory_bytes",
        help: "Memory of all workers, and of templates; of pages that they share each has its part.",
        kind: MetricType::GAUGE,
        of: |pool| {
            let PoolStatus {
                workers, templates, ..
            } = &pool.status;
            let all = workers.iter().chain(templates);
            one(all.filter_map(resident).sum())
        },
    },
    Row {
        name: "stockade_generation",
        help: "The generation that serves.",
        kind: MetricType::GAUGE,
        of: |pool| one(f64::from(pool.status.generation.0)),
    },
    Row {
        name: "stockade_saturation",
        help: "Busy slots of all slots, 0 to 1; 1 while requests wait.",
        kind: MetricType::GAUGE,
        of: |pool| one(saturation(pool)),
    },
    Row {
        name: "stockade_watchdog_total",
        help: "Times that requests waited though a worker was free, which cannot be and was mended.",
        kind: MetricType::COUNTER,
        of: |pool| one(whole(pool.healed)),
    },
    Row {
        name: "stockade_host_connections",
        help: "Open connections of hosts.",
        kind: MetricType::GAUGE,
        of: |pool| one(whole(pool.hosts as u64)),
    },
    Row {
        name: "stockade_bytes_total",
        help: "FastCGI bytes from hosts (in) and to them (out).",
        kind: MetricType::COUNTER,
        of: |pool| {
            let directions = [("in", pool.received), ("out", pool.sent)];
            labelled(
                "direction",
                directions.map(|(name, bytes)| (name.to_owned(), whole(bytes))),
            )
        },
    },
    Row {
        name: "stockade_limit",
        help: "Limits of the configuration that are set, by their keys; times in seconds.",
        kind: MetricType::GAUGE,
        of: |pool| {
            let limits = pool.limits.iter();
            labelled(
                "name",
                limits.map(|(name, limit)| ((*name).to_owned(), *limit)),
            )
        },
    },
];

fn workers(pool: &Reading) -> Vec<Sample> {
    let states = [
        WorkerState::Starting,
        WorkerState::Ready,
        WorkerState::Retiring,
    ];
    let count = |state| {
        pool.status
            .workers
            .iter()
            .filter(|worker| worker.state == state)
            .count()
    };
    labelled(
        "state",
        states.map(|state| (state.to_string(), whole(count(state) as u64))),
    )
}

fn saturation(pool: &Reading) -> f64 {
    let slots = pool.status.slots;
    let all = slots.busy.saturating_add(slots.idle);
    if pool.status.queue.length > 0 {
        1.0
    } else if all == 0 {
        0.0
    } else {
        f64::from(slots.busy) / f64::from(all)
    }
}

fn resident(worker: &WorkerStatus) -> Option<f64> {
    worker.resident_bytes.map(whole)
}

fn by_place(pool: &Reading, of: impl Fn(&WorkerStatus) -> Option<f64>) -> Vec<Sample> {
    let workers = pool.status.workers.iter();
    labelled(
        "worker",
        workers.filter_map(|worker| Some((worker.place.to_string(), of(worker)?))),
    )
}

fn one(value: f64) -> Vec<Sample> {
    vec![Sample {
        labels: Vec::new(),
        value: Value::Number(value),
    }]
}

fn labelled(name: &'static str, values: impl IntoIterator<Item = (String, f64)>) -> Vec<Sample> {
    let sample = |(label, value)| Sample {
        labels: vec![(name, label)],
        value: Value::Number(value),
    };
    values.into_iter().map(sample).collect()
}

fn histogram(histogram: &ledger::Histogram) -> Vec<Sample> {
    vec![Sample {
        labels: Vec::new(),
        value: Value::Histogram(histogram.clone()),
    }]
}

/// The format has floating-point numbers only; beyond 2^53 it is not exact.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(super) const fn whole(count: u64) -> f64 {
    count as f64
}

fn family(row: &Row, overview: &Overview) -> MetricFamily {
    let mut metrics = Vec::new();
    for pool in &overview.readings {
        for Sample { labels, value } in (row.of)(pool) {
            let mut pairs = vec![pair("pool", &pool.status.name)];
            pairs.extend(labels.iter().map(|(name, value)| pair(name, value)));
            metrics.push(metric(row.kind, pairs, &value));
        }
    }
    family_of(row.name, row.help, row.kind, metrics)
}

fn build_info(overview: &Overview) -> MetricFamily {
    let labels = vec![pair("version", &overview.status.version)];
    let metrics = vec![metric(MetricType::GAUGE, labels, &Value::Number(1.0))];
    let help = "The version that runs; always 1.";
    family_of("stockade_build_info", help, MetricType::GAUGE, metrics)
}

fn family_of(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(kind: MetricType, labels: Vec<LabelPair>, value: &Value) -> Metric {
    let mut metric = Metric::from_label(labels);
    match (kind, value) {
        (_, Value::Histogram(counted)) => metric.set_histogram(histogram_of(counted)),
        (MetricType::COUNTER, Value::Number(number)) => {
            let mut counter = Counter::default();
            counter.set_value(*number);
            metric.set_counter(counter);
        }
        (_, Value::Number(number)) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*number);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn histogram_of(counted: &ledger::Histogram) -> Histogram {
    let buckets = counted.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counted.count());
    histogram.set_sample_sum(counted.sum);
    histogram
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
