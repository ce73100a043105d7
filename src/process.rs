//! What a process is, apart from its parts: logging, signals, TLS.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::error::Failure;
use crate::settings::{LogFormat, Settings};

/// Sends Icecore's own spans until it is dropped; nothing where none were asked for.
#[derive(Debug)]
pub(crate) struct Telling {
    tracer: Option<SdkTracerProvider>,
}

/// Keeps the kernel from backing memory with large pages. They are zeroed whole where a few of
/// their bytes are touched: taking in 300,000 spans cost a third less CPU without them, and left a
/// quarter less memory in use.
pub(crate) fn use_small_pages() {
    // SAFETY: this option takes numbers only, and reads or writes no memory of ours.
    let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0;
    if refused {
        tracing::debug!("the kernel does not let large pages be switched off");
    }
}

/// After a while keeps memory that nobody uses for as long as the allocator does by itself. What an agent holds of
/// requests comes and goes with every batch it sends: to have the kernel clear it anew each time was a tenth of its CPU.
/// What it reads of the kernel's types at first is 50 MB, read once, and goes back before. The allocator looks for what has
/// waited long enough only while a lot is asked of it, and an agent at rest asks for little: it kept 36 MB of which it used
/// nothing. So it is told to look.
#[cfg(feature = "probe")]
pub(crate) fn keep_memory() {
    tokio::spawn(async {
        tokio::time::sleep(AGENT_SETTLES).await;
        look_for_unused_memory();
        // SAFETY: as above; threads that are there already take the new value when they next look.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, AGENT_PURGE_AFTER_MS) };
        loop {
            tokio::time::sleep(AGENT_LOOKS_EVERY).await;
            look_for_unused_memory();
        }
    });
}

/// Gives the kernel what has waited for as long as it is kept. Takes some microseconds where there is nothing.
#[cfg(feature = "probe")]
fn look_for_unused_memory() {
    // SAFETY: may be called at any time, by any thread.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

#[cfg(feature = "probe")]
const AGENT_SETTLES: std::time::Duration = std::time::Duration::from_secs(5);

/// As long as the allocator keeps whole regions: ten times [`AGENT_PURGE_AFTER_MS`].
#[cfg(feature = "probe")]
const AGENT_LOOKS_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// The allocator's own default.
#[cfg(feature = "probe")]
const AGENT_PURGE_AFTER_MS: std::ffi::c_long = 1_000;

/// Lets others go first where CPUs are short: threads that are made from here on have this nice value.
/// Beside a server that answers 5,000 requests a second on two busy CPUs, its slowest answers took twice as long while
/// the agent worked in their place.
#[cfg(feature = "probe")]
pub(crate) fn step_back(nice: u8) {
    // SAFETY: the call takes numbers only; 0 is the calling thread.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) } != 0;
    if refused {
        tracing::warn!(nice, "the kernel does not let the agent step back");
    }
}

/// `mi_option_purge_delay` of mimalloc 3 (include/mimalloc.h), which the bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long the allocator keeps memory that nobody uses before the kernel gets it back, in
/// milliseconds; ten times as long where whole regions are free. By default it is a second, and
/// every thread that ever decoded, encoded or merged keeps what its largest piece of work took:
/// one million spans then peaked at 394 MB with queries, with 10 ms at 237 MB. With 10 ms every
/// query finds its memory gone and has the kernel clear it anew, a sixth of its CPU.
const PURGE_AFTER_MS: std::ffi::c_long = 50;

/// How long a thread for long work stays without any. What it allocated and others gave back is
/// free only once it allocates again, or ends; by default, at 10 s, a dozen of them take turns for
/// ever and none ends. At 110,000 spans a second 190 to 250 MB then stayed in use between merges,
/// with this 32 to 40 MB, for the same CPU. `store compact`, which went without it, kept 5 to 25 MB
/// more after each merge: 40 MB after the first, 97 after the sixth.
const IDLE_THREAD_STAYS: std::time::Duration = std::time::Duration::from_millis(20);

/// The runtime of whoever works on a store.
///
/// # Errors
/// Where the machine has no threads left.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD_STAYS)
        .build();
    runtime.map_err(|error| Failure::from_error("cannot start the runtime", &error))
}

/// The runtime of an agent alone, however many CPUs there are: one thread sends, beside the one that reads. With one for
/// both, that stepped back, calls found no room beside compilers at work. Those for long work stay for the next piece of it.
///
/// # Errors
/// Where the machine has no threads left.
#[cfg(feature = "probe")]
pub(crate) fn agent_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build();
    runtime.map_err(|error| Failure::from_error("cannot start the runtime", &error))
}

/// Keeps memory that nobody uses for a moment only; `MIMALLOC_PURGE_DELAY` is the stronger.
pub(crate) fn return_memory_soon() {
    // SAFETY: the option exists in the version that is linked and takes any number; `main` calls
    // this before there is a second thread.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_AFTER_MS) };
}

/// Chooses the one TLS implementation of this process; doing it again changes nothing.
pub(crate) fn install_tls() {
    // An error says that it is installed already, which is what is wanted.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Starts logging to standard error and, when asked, sending Icecore's own spans.
///
/// # Errors
/// Where the filter cannot be read, or the spans would come back to this very process.
pub(crate) fn start_telling(settings: &Settings) -> Result<Telling, Failure> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| {
        Failure::usage(format!("`log`: `{}` is not a filter: {error}", settings.log))
    })?;
    let text = match settings.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let output = if text {
        output.with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        output.json().boxed()
    };
    let tracer = own_spans(settings)?;
    let spans = tracer.as_ref().map(|provider| {
        // The exporter's own calls must not become spans, or each export would cause the next.
        let quiet = EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off,reqwest=off");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("icecore")).with_filter(quiet)
    });
    tracing_subscriber::registry().with(output.with_filter(filter)).with(spans).init();
    Ok(Telling { tracer })
}

impl Telling {
    /// Sends what is still held back.
    pub(crate) fn finish(self) {
        if let Some(error) = self.tracer.and_then(|tracer| tracer.shutdown().err()) {
            tracing::warn!(%error, "own spans not sent");
        }
    }
}

fn own_spans(settings: &Settings) -> Result<Option<SdkTracerProvider>, Failure> {
    let endpoint = &settings.trace_endpoint;
    if endpoint.is_empty() {
        return Ok(None);
    }
    let own = settings.otlp_grpc_addr.port();
    let url: url::Url = endpoint.parse().map_err(|error| {
        Failure::usage(format!("`trace_endpoint`: `{endpoint}` is not an address: {error}"))
    })?;
    let local =
        url.host_str().is_some_and(|host| ["127.0.0.1", "localhost", "[::1]"].contains(&host));
    if local && url.port_or_known_default() == Some(own) {
        return Err(Failure::usage(format!(
            "`trace_endpoint`: {endpoint} is this process itself; its spans would cause spans without end"
        )));
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str())
        .build()
        .map_err(|error| Failure::from_error("cannot send own spans", &error))?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("icecore").build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok(Some(provider))
}

/// Cancels `stop` at the first SIGINT or SIGTERM.
///
/// # Errors
/// Where signals cannot be received.
pub(crate) fn stop_on_signal(stop: CancellationToken) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::from_error("cannot receive signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
        }
        stop.cancel();
    });
    Ok(())
}
