//! Days and hours at which an expectation holds.

use jiff::{Timestamp, civil::Time, civil::Weekday, tz::TimeZone};

use super::{
    error::{Mistakes, nearest_of},
    format,
};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A stretch of days and hours.
#[derive(Clone, Debug)]
pub struct Times {
    /// Monday first.
    days: [bool; 7],
    from: Time,
    /// `None` for the end of the day.
    to: Option<Time>,
    zone: TimeZone,
}

impl Times {
    /// True when `now` lies in it.
    #[must_use]
    pub fn contain(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let (time, day) = (local.time(), local.weekday());
        let on = |day: Weekday| self.days[usize::from(day.to_monday_zero_offset().unsigned_abs())];
        match self.to {
            Some(to) if to <= self.from => {
                // Over midnight: the evening belongs to its own day, the morning to the day before.
                on(day) && time >= self.from || on(day.previous()) && time < to
            }
            to => on(day) && time >= self.from && to.is_none_or(|to| time < to),
        }
    }

    pub(super) fn check(text: &format::Times, mistakes: &mut Mistakes) -> Self {
        let mut days = [text.days.is_none(); 7];
        for day in text.days.iter().flatten() {
            let parts: Vec<_> = day.value.split('-').map(str::trim).collect();
            let index = |word: &str| DAYS.iter().position(|(name, _)| *name == word.to_lowercase());
            let unknown = parts.iter().find(|part| index(part).is_none());
            match (parts.as_slice(), unknown) {
                (_, Some(word)) => {
                    mistakes.at(
                        day,
                        format!("unknown day `{word}`{}", nearest_of(word, &DAYS.map(|(name, _)| name))),
                    );
                }
                ([first] | [first, _], None) => {
                    let first = index(first).unwrap_or(0);
                    let last = parts.get(1).and_then(|last| index(last)).unwrap_or(first);
                    let length = (last + 7 - first) % 7;
                    for step in 0..=length {
                        days[(first + step) % 7] = true;
                    }
                }
                _ => mistakes.at(day, "write one day, or the first and the last as in `mon-fri`"),
            }
        }
        let mut time = |text: &Option<format::Text>| {
            let text = text.as_ref()?;
            let parsed = Time::strptime("%H:%M", &text.value);
            if parsed.is_err() {
                mistakes.at(text, format!("`{}` is no time of day; write `08:30`", text.value));
            }
            parsed.ok()
        };
        let (from, to) = (time(&text.from).unwrap_or(Time::MIN), time(&text.to));
        let zone = text.zone.as_ref().map_or(TimeZone::UTC, |zone| {
            TimeZone::get(&zone.value).unwrap_or_else(|_| {
                mistakes.at(
                    zone,
                    format!(
                        "time zone `{}` is not known to this host; write `Europe/Berlin` or `UTC`",
                        zone.value
                    ),
                );
                TimeZone::UTC
            })
        });
        Self { days, from, to, zone }
    }
}
