//! Points in time as people give them to `--since` and `--until`: spelled as journalctl and docker do.

use jiff::{Span, SpanRelativeTo, Timestamp, Zoned, civil, tz::TimeZone};

/// A point in time that `text` names, seen from `now`:
///
/// - `10m`, `1h30m`, `2 days ago`, `-1h`: that long ago
/// - `2026-11-20`, `2026-11-20 10:00`, `10:00:30`: by the clock of `now`'s time zone
/// - `2026-11-20T10:00:00Z`, with an offset or a zone
/// - `@1795000000`, `1795000000.5`: seconds since 1970
/// - `now`, `today`, `yesterday`, `boot`
pub fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let day = |date: civil::Date| zoned(date.at(0, 0, 0, 0), now.time_zone());
    match text {
        "" => return Err(help(text)),
        "now" => return Ok(now.timestamp()),
        "today" => return day(now.date()),
        "yesterday" => return day(now.date().yesterday().map_err(|error| error.to_string())?),
        "tomorrow" => return day(now.date().tomorrow().map_err(|error| error.to_string())?),
        "boot" => return boot(now.timestamp()),
        _ => {}
    }
    if let Some(seconds) = seconds(text) {
        return Timestamp::from_nanosecond(seconds).map_err(|error| format!("{text}: {error}"));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<Zoned>() {
        return Ok(time.timestamp());
    }
    if let Ok(time) = text.parse::<civil::DateTime>() {
        return zoned(time, now.time_zone());
    }
    // Without a colon it would be a year, too.
    if text.contains(':')
        && let Ok(time) = text.parse::<civil::Time>()
    {
        return zoned(now.date().to_datetime(time), now.time_zone());
    }
    let span: Span = text.trim_start_matches(['-', '+']).parse().map_err(|_| help(text))?;
    ago(span.abs(), now).map_err(|error| format!("{text}: {error}"))
}

/// A point in time ahead of `now`: `7d` and `2 hours` are so much later; anything else is read as [`parse`] does.
pub fn parse_ahead(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let span = text.trim().trim_start_matches('+').parse::<Span>();
    let time = match span {
        Ok(span) if !text.contains("ago") => {
            now.checked_add(span.abs()).map_err(|error| format!("{text}: {error}"))?.timestamp()
        }
        _ => parse(text, now)?,
    };
    if time <= now.timestamp() {
        return Err(format!("{text} has passed. Give one such as 7d, \"2 hours\", tomorrow, 2027-01-31"));
    }
    Ok(time)
}

fn ago(span: Span, now: &Zoned) -> Result<Timestamp, jiff::Error> {
    // Days are days of the calendar: a change of the clock is in them.
    let _ = span.to_duration(SpanRelativeTo::from(now))?;
    Ok(now.checked_sub(span)?.timestamp())
}

fn help(text: &str) -> String {
    format!(
        "{text:?} is no time. Give one such as 10m, 2h, \"3 days ago\", 2026-11-20, \"2026-11-20 10:00\", \
         2026-11-20T10:00:00Z, @1795000000, today, yesterday, boot"
    )
}

/// Seconds since 1970 with a fraction, in ns.
fn seconds(text: &str) -> Option<i128> {
    let marked = text.strip_prefix('@');
    let digits = marked.unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // A bare number must look like such seconds; "2026" is not meant so.
    if marked.is_none() && whole.len() < 9 {
        return None;
    }
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    Some(i128::from(whole) * 1_000_000_000 + i128::from(fraction))
}

fn zoned(time: civil::DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    time.to_zoned(zone.clone()).map(|time| time.timestamp()).map_err(|error| error.to_string())
}

fn boot(now: Timestamp) -> Result<Timestamp, String> {
    let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_err(|error| format!("boot: {error}"))?;
    now.checked_sub(std::time::Duration::from(up)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-20T11:30:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> String {
        parse(text, &now()).unwrap().to_string()
    }

    #[test]
    fn as_journalctl_and_docker_spell_it() {
        for (text, time) in [
            ("10m", "2026-11-20T10:20:00Z"),
            ("-10m", "2026-11-20T10:20:00Z"),
            ("1h30m", "2026-11-20T09:00:00Z"),
            ("2 days ago", "2026-11-18T10:30:00Z"),
            ("today", "2026-11-19T23:00:00Z"),
            ("yesterday", "2026-11-18T23:00:00Z"),
            ("now", "2026-11-20T10:30:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2026-11-20 10:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20T10:00:30", "2026-11-20T09:00:30Z"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("08:15", "2026-11-20T07:15:00Z"),
            ("@1795000000", "2026-11-18T11:06:40Z"),
            ("1795000000.25", "2026-11-18T11:06:40.25Z"),
        ] {
            assert_eq!(at(text), time, "{text}");
        }
        assert!(parse("boot", &now()).unwrap() < now().timestamp());
    }

    #[test]
    fn a_day_in_which_the_clock_changes_is_a_day() {
        let now: Zoned = "2026-10-25T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(parse("1 day ago", &now).unwrap().to_string(), "2026-10-24T10:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_told_with_examples() {
        for text in ["", "soon", "2026", "12:99", "@", "@1.5x", "1 fortnight", "99999999999999999999"] {
            let error = parse(text, &now()).unwrap_err();
            assert!(error.contains("yesterday"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_ahead_is_ahead() {
        let now: Zoned = "2026-11-20T10:00:00[UTC]".parse().unwrap();
        let at = |text: &str| parse_ahead(text, &now).map(|time| time.to_string());
        assert_eq!(at("7d").unwrap(), "2026-11-27T10:00:00Z");
        assert_eq!(at("+90m").unwrap(), "2026-11-20T11:30:00Z");
        assert_eq!(at("2027-01-31").unwrap(), "2027-01-31T00:00:00Z");
        assert_eq!(at("tomorrow").unwrap(), "2026-11-21T00:00:00Z");
        for past in ["yesterday", "2 days ago", "2020-01-01", "now", "soon"] {
            assert!(at(past).is_err(), "{past}");
        }
    }
}
