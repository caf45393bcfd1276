//! Gaps as lines for people and as JSON for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use bluenova_http::{GapJson, ShareJson};
use bluenova_journal::{Gap, GapBattery, RowShare, percent};
use bluenova_record::{Escaped, Rfc3339};
use bluenova_status::duration;
use jiff::{Timestamp, tz::TimeZone};
use time::UtcDateTime;

use super::Question;

/// Least width of the column of batteries.
const BATTERY_WIDTH: usize = 8;

/// How gaps are written while they are found.
pub(super) trait GapOutput {
    fn begin(
        &mut self,
        question: &Question,
        batteries: &mut dyn Iterator<Item = &GapBattery>,
    ) -> io::Result<()>;

    fn gap(&mut self, battery: &GapBattery, gap: &Gap) -> io::Result<()>;

    fn end(&mut self, question: &Question, shares: &[RowShare]) -> io::Result<()>;
}

/// One line per gap, in local time.
pub(super) struct Lines<W> {
    out: W,
    zone: TimeZone,
    width: usize,
    has_gap: bool,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        Self { out, zone, width: BATTERY_WIDTH, has_gap: false }
    }

    fn local(&self, time: UtcDateTime) -> String {
        let time = Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or_default();
        let zoned = time.to_zoned(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

impl<W: Write> GapOutput for Lines<W> {
    fn begin(
        &mut self,
        question: &Question,
        batteries: &mut dyn Iterator<Item = &GapBattery>,
    ) -> io::Result<()> {
        let widths = batteries.map(|battery| battery.to_string().chars().count());
        self.width = widths.fold(BATTERY_WIDTH, usize::max);
        if let Some(why) = &question.trouble {
            let journal = &question.rows_of;
            writeln!(
                self.out,
                "{why}. Only the journal is looked at, {journal}; rows count that still wait there"
            )?;
        }
        Ok(())
    }

    fn gap(&mut self, battery: &GapBattery, gap: &Gap) -> io::Result<()> {
        let width = self.width;
        if !std::mem::replace(&mut self.has_gap, true) {
            let zone = self.zone.iana_name().unwrap_or("local time");
            let from = format!("from ({zone})");
            writeln!(
                self.out,
                "{from:<19}  {:<19}  intervals  {:<width$}  cause",
                "to", "battery"
            )?;
        }
        let (from, to) = (self.local(gap.from), self.local(gap.to));
        let (intervals, battery) = (gap.intervals, battery.to_string());
        let cause = gap.cause.to_string();
        let cause = Escaped(&cause);
        writeln!(self.out, "{from}  {to}  {intervals:>9}  {battery:<width$}  {cause}")
    }

    fn end(&mut self, question: &Question, shares: &[RowShare]) -> io::Result<()> {
        for share in shares {
            let (percent, missing) = (share.percent(), share.missing);
            let (battery, intervals) = (share.battery.to_string(), share.intervals);
            writeln!(
                self.out,
                "{battery}: {percent:.2} %, {missing} of {intervals} intervals without a row"
            )?;
        }
        let (intervals, missing) = sums(shares);
        let Question { times, interval, .. } = question;
        let Some(since) = shares.iter().map(|share| share.since).min() else {
            let length = length(times.end - times.start);
            writeln!(self.out, "no battery had a row or an event in {length}")?;
            return self.out.flush();
        };
        let length = length(times.end - since.max(times.start));
        write!(self.out, "{:.2} % of {length}", percent(intervals, missing))?;
        if since > times.start + *interval {
            let begin = self.local(since);
            write!(self.out, "; before {begin} no battery had a row or an event")?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }
}

/// One object, with all gaps in it.
pub(super) struct JsonOutput<W> {
    out: W,
    has_gap: bool,
}

impl<W: Write> JsonOutput<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, has_gap: false }
    }
}

impl<W: Write> GapOutput for JsonOutput<W> {
    fn begin(
        &mut self,
        question: &Question,
        _: &mut dyn Iterator<Item = &GapBattery>,
    ) -> io::Result<()> {
        let Question { times, interval, rows_of, trouble } = question;
        let from = serde_json::to_string(&Rfc3339(times.start))?;
        let to = serde_json::to_string(&Rfc3339(times.end))?;
        let (interval, rows_of) = (interval.as_secs(), serde_json::to_string(rows_of)?);
        let trouble = serde_json::to_string(trouble)?;
        write!(
            self.out,
            "{{\"from\":{from},\"to\":{to},\"interval_s\":{interval},\"rows_of\":{rows_of},\
             \"trouble\":{trouble},\n\"gaps\":["
        )
    }

    fn gap(&mut self, battery: &GapBattery, gap: &Gap) -> io::Result<()> {
        let separator = if std::mem::replace(&mut self.has_gap, true) { ",\n" } else { "\n" };
        let gap = serde_json::to_string(&GapJson::new(battery, gap))?;
        write!(self.out, "{separator}{gap}")
    }

    fn end(&mut self, _: &Question, shares: &[RowShare]) -> io::Result<()> {
        let batteries: Vec<_> = shares.iter().map(ShareJson::new).collect();
        let batteries = serde_json::to_string(&batteries)?;
        let (intervals, missing) = sums(shares);
        let percent = percent(intervals, missing);
        writeln!(
            self.out,
            "],\n\"batteries\":{batteries},\n\"intervals\":{intervals},\"missing\":{missing},\
             \"percent\":{percent}}}"
        )?;
        self.out.flush()
    }
}

fn sums(shares: &[RowShare]) -> (u64, u64) {
    let sum = |number: fn(&RowShare) -> u64| shares.iter().map(number).sum();
    (sum(|share| share.intervals), sum(|share| share.missing))
}

/// A length of time, as `7 d`.
fn length(length: time::Duration) -> String {
    let text = duration(Duration::try_from(length).unwrap_or_default());
    let whole = [" 0 h", " 0 min", " 0 s"].into_iter().find_map(|zero| text.strip_suffix(zero));
    whole.unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short() {
        for (seconds, text) in
            [(604_800, "7 d"), (608_400, "7 d 1 h"), (3600, "1 h"), (60, "1 min"), (0, "0 s")]
        {
            assert_eq!(length(time::Duration::seconds(seconds)), text);
        }
    }
}
