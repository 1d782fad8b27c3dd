//! Options that commands share.

use crate::{
    daemon::{Declared, Roots, Settings},
    event::{Finding, FindingState, Rule, Severity},
    render::{
        Format, Origin, Stream, StreamError,
        stream::{Colour, Destination},
    },
    sensor::Diagnostics,
    service,
};
use clap::{Args, ValueEnum};
use mcp_monitor_common::{limits::RING_BYTES, mechanism::Tier};
use std::{path::PathBuf, str::FromStr};

/// Smallest ring buffer.
const RING_BYTES_MIN: u32 = 64 * 1024;
/// Largest ring buffer.
const RING_BYTES_MAX: u32 = 1 << 30;

/// How the output looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FormatOption {
    /// Aligned lines for people.
    Table,
    /// One JSON object a line.
    Json,
    /// The same as json.
    Jsonl,
}

impl From<FormatOption> for Format {
    fn from(option: FormatOption) -> Self {
        match option {
            FormatOption::Table => Self::Table,
            FormatOption::Json | FormatOption::Jsonl => Self::Json,
        }
    }
}

/// When there is colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ColourOption {
    /// As the variables say.
    #[value(help = "On a terminal, unless NO_COLOR is set; anywhere with CLICOLOR_FORCE")]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<ColourOption> for Colour {
    fn from(option: ColourOption) -> Self {
        match option {
            ColourOption::Auto => Self::Auto,
            ColourOption::Always => Self::Always,
            ColourOption::Never => Self::Never,
        }
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TierOption {
    /// BPF LSM programs.
    Lsm,
    /// kprobes.
    Probe,
    /// Raw tracepoints; weakest.
    Tracepoint,
}

impl From<TierOption> for Tier {
    fn from(option: TierOption) -> Self {
        match option {
            TierOption::Lsm => Self::Lsm,
            TierOption::Probe => Self::Probe,
            TierOption::Tracepoint => Self::Tracepoint,
        }
    }
}

/// What the kernel programs say of themselves.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum KernelLog {
    /// Records that are lost.
    Warn,
    /// Segments that are opened, too.
    Info,
    /// Labels at fork, exec and exit, too.
    Debug,
}

impl From<KernelLog> for Diagnostics {
    fn from(option: KernelLog) -> Self {
        match option {
            KernelLog::Warn => Self::Warn,
            KernelLog::Info => Self::Info,
            KernelLog::Debug => Self::Debug,
        }
    }
}

/// What becomes of secrets that processes outside every workload open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HostSecrets {
    /// Nothing.
    Off,
    /// They are written down.
    Record,
}

/// Which findings make the exit status 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailOn {
    /// Those of one rule.
    Rule(Rule),
    /// Those of this severity and above.
    Severity(Severity),
}

impl FailOn {
    /// True when `finding` is one of them. What an operator suppressed is none.
    pub(super) fn matches(self, finding: &Finding) -> bool {
        if finding.state == FindingState::Suppressed {
            return false;
        }
        match self {
            Self::Rule(rule) => finding.rule == rule,
            Self::Severity(severity) => finding.severity >= severity,
        }
    }

    /// The same of a finding that was read. One of a severity that this version does not know is taken for severe.
    pub(super) fn matches_read(self, finding: &crate::render::read::Finding) -> bool {
        if finding.state == *FindingState::Suppressed.name() {
            return false;
        }
        match self {
            Self::Rule(rule) => finding.rule == *rule.id(),
            Self::Severity(severity) => finding.severity().is_none_or(|of| of >= severity),
        }
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SEVERITIES: [Severity; 4] =
            [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        let severity = SEVERITIES.into_iter().find(|severity| severity.name() == text).map(Self::Severity);
        let rule = Rule::ALL.into_iter().find(|rule| rule.id() == text).map(Self::Rule);
        severity.or(rule).ok_or_else(|| {
            let severities = SEVERITIES.map(Severity::name).join(", ");
            let rules = Rule::ALL.map(Rule::id).join(", ");
            format!("neither a severity ({severities}) nor a rule ({rules})")
        })
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if bytes.is_power_of_two() && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("must be a power of two from {RING_BYTES_MIN} to {RING_BYTES_MAX}"))
    }
}

/// Where the stream of events goes and how it looks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct StreamOptions {
    /// table on a terminal, json elsewhere, if not given.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<FormatOption>,
    /// Write the stream to FILE instead of standard output.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Colour, for people.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColourOption,
    /// Show findings and the summary only, no events.
    #[arg(short, long)]
    quiet: bool,
    /// End with status 10 if there is a finding of RULE, or of SEVERITY and above. May be given several times.
    #[arg(long, value_name = "RULE|SEVERITY")]
    pub(super) fail_on: Vec<FailOn>,
}

impl StreamOptions {
    /// Opens the stream. The tier stands for nothing until the sensor has chosen one.
    pub(super) fn open(&self) -> Result<Stream, StreamError> {
        let destination = match &self.output_file {
            Some(path) => Destination::file(path),
            None => Destination::standard_output(),
        };
        let destination = destination.map_err(StreamError::Other)?;
        let format = self.output.map_or_else(|| destination.natural_format(), Format::from);
        let origin = Origin::of_this_host(Tier::Tracepoint);
        Ok(Stream::new(origin, format, destination, self.color.into(), self.quiet))
    }
}

/// What is expected and how it is observed.
#[derive(Clone, Debug, Args)]
pub(super) struct MonitorOptions {
    /// A destination that is expected: HOST[:PORT], *.HOST[:PORT], ADDRESS[:PORT] or NETWORK/PREFIX[:PORT].
    #[arg(long, value_name = "DEST", help_heading = "Expectations")]
    allow_egress: Vec<String>,
    /// Files that may be read.
    #[arg(long, value_name = "GLOB", help_heading = "Expectations")]
    allow_read: Vec<String>,
    /// A secret that may be read: a path, or an entry of the catalogue.
    #[arg(long, value_name = "PATH|ENTRY", help_heading = "Expectations")]
    secret: Vec<String>,
    /// Write down who else on this host opens secrets: events of no workload, never findings. What a workload wrote and
    /// somebody else runs is a finding.
    #[arg(long, value_name = "WHAT", default_value = "off", help_heading = "Expectations")]
    host_secrets: HostSecrets,
    /// Use this set of mechanisms, or fail [default: the strongest that works]
    #[arg(long, help_heading = "Mechanism")]
    tier: Option<TierOption>,
    /// Report every repeated open instead of counting repetitions.
    #[arg(long, help_heading = "Mechanism")]
    no_relief: bool,
    /// Bytes of the ring buffer, a power of two.
    #[arg(long, value_name = "N", default_value_t = RING_BYTES, value_parser = ring_bytes, help_heading = "Mechanism")]
    ring_bytes: u32,
    /// Let the kernel programs say on standard error what they do, to look for a mistake in them [default: they are silent]
    #[arg(long, value_name = "LEVEL", help_heading = "Mechanism")]
    kernel_log: Option<KernelLog>,
}

impl MonitorOptions {
    /// Settings for the daemon.
    pub(super) fn settings(&self, roots: Roots) -> Settings {
        Settings {
            expectations: None,
            tier: self.tier.map(Tier::from),
            relief: !self.no_relief,
            host_secrets: self.host_secrets == HostSecrets::Record,
            ring_bytes: self.ring_bytes,
            diagnostics: self.kernel_log.map(Diagnostics::from),
            declared: Declared {
                egress: self.allow_egress.clone(),
                read: self.allow_read.clone(),
                secrets: self.secret.clone(),
            },
            roots,
            control: None,
            store: None,
            sinks: None,
            service: service::Settings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_on_takes_rules_and_severities() {
        assert_eq!("secret-read".parse(), Ok(FailOn::Rule(Rule::SecretRead)));
        assert_eq!("high".parse(), Ok(FailOn::Severity(Severity::High)));
        let error = "hihg".parse::<FailOn>().unwrap_err();
        assert!(error.contains("critical") && error.contains("unknown-egress"), "{error}");
    }

    #[test]
    fn ring_is_a_power_of_two() {
        assert_eq!(ring_bytes("1048576"), Ok(1 << 20));
        for wrong in ["0", "100000", "4096", "2147483648", "x"] {
            assert!(ring_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
