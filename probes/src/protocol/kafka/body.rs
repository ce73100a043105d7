//! What requests and answers are about: topics, partitions, offsets, errors.
//!
//! Invariants: a topic or a partition is told only where there is exactly one; the first error that
//! an answer holds is its error; what was cut off changes none of it, but for counts, which are then
//! left out.

use super::api::{Api, Shape};
use super::field::Fields;
use super::records::{Records, records};

/// What a body is about.
#[derive(Debug, Default)]
pub(super) struct About<'a> {
    pub(super) topic: Option<Topic<'a>>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    pub(super) group: Option<&'a str>,
    /// Records in all partitions together; none where some of it was not kept.
    pub(super) count: Option<u64>,
    /// What was sent, where there is exactly one set of batches.
    pub(super) records: Option<Records<'a>>,
    pub(super) error: i16,
    /// No answer is wanted.
    pub(super) unanswered: bool,
    several: bool,
}

/// How a topic is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic<'a> {
    Named(&'a str),
    Numbered([u8; 16]),
}

/// Topics of one answer that are remembered by their number.
const TOPICS_MAX: u64 = 256;

impl<'a> About<'a> {
    fn topics(&mut self, count: u64) {
        self.several |= count > 1;
    }

    fn topic(&mut self, topic: Topic<'a>) {
        self.topic = self.topic.or((!self.several).then_some(topic));
    }

    fn partition(&mut self, several: bool, partition: i32, offset: Option<i64>) {
        if !several && !self.several {
            (self.partition, self.offset) = (Some(partition), offset);
        }
    }

    fn failed(&mut self, error: Option<i16>) -> Option<()> {
        if self.error == 0 {
            self.error = error?;
        }
        error.map(drop)
    }

    fn add(&mut self, more: &Records<'_>) {
        self.count = self.count.zip(more.count).map(|(sum, count)| sum + count);
    }
}

/// Reads the body of a request.
pub(super) fn request<'a>(api: &Api, version: i16, mut fields: Fields<'a>) -> About<'a> {
    let mut about = About::default();
    let _cut_off = match api.shape {
        Shape::Produce => produce(version, &mut fields, &mut about),
        Shape::Fetch => fetch(version, &mut fields, &mut about),
        Shape::Group(_) | Shape::OffsetCommit => group(&mut fields, &mut about),
        Shape::OffsetFetch if version < 8 => group(&mut fields, &mut about),
        _ => Some(()),
    };
    about
}

fn group<'a>(fields: &mut Fields<'a>, about: &mut About<'a>) -> Option<()> {
    about.group = fields.text()?.filter(|group| !group.is_empty());
    Some(())
}

fn topic<'a>(numbered: bool, fields: &mut Fields<'a>) -> Option<Topic<'a>> {
    if numbered {
        return fields.uuid().map(Topic::Numbered);
    }
    fields.text()?.map(Topic::Named)
}

fn produce<'a>(version: i16, fields: &mut Fields<'a>, about: &mut About<'a>) -> Option<()> {
    if version >= 3 {
        fields.text()?;
    }
    about.unanswered = fields.i16()? == 0;
    fields.i32()?;
    let topics = fields.count()?;
    about.topics(topics);
    let mut sum = About { count: Some(0), ..About::default() };
    for _ in 0..topics {
        about.topic(topic(version >= 13, fields)?);
        let partitions = fields.count()?;
        for _ in 0..partitions {
            about.partition(partitions > 1, fields.i32()?, None);
            let (length, kept) = fields.blob()?;
            let records = records(length, kept);
            sum.add(&records);
            about.records = (topics == 1 && partitions == 1).then_some(records);
            if kept.len() < length && !(topics == 1 && partitions == 1) {
                return None;
            }
            fields.tags();
        }
        fields.tags();
    }
    about.count = sum.count;
    Some(())
}

fn fetch<'a>(version: i16, fields: &mut Fields<'a>, about: &mut About<'a>) -> Option<()> {
    // The replica, two bounds, the isolation, the session.
    let before = [(0..15, 4), (0..99, 8), (3..99, 4), (4..99, 1), (7..99, 8)];
    let sizes = before.into_iter().filter(|(versions, _)| versions.contains(&version));
    fields.bytes(sizes.map(|(_, size)| size).sum())?;
    let topics = fields.count()?;
    about.topics(topics);
    for _ in 0..topics {
        about.topic(topic(version >= 13, fields)?);
        let partitions = fields.count()?;
        for _ in 0..partitions {
            let partition = fields.i32()?;
            if version >= 9 {
                fields.i32()?;
            }
            let offset = fields.i64()?;
            about.partition(partitions > 1, partition, Some(offset));
            let behind = [(12..99, 4), (5..99, 8), (0..99, 4)];
            let sizes = behind.into_iter().filter(|(versions, _)| versions.contains(&version));
            fields.bytes(sizes.map(|(_, size)| size).sum())?;
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(())
}

/// Reads the body of an answer. `learn`: is told which number a topic has.
pub(super) fn answer<'a>(
    api: &Api,
    version: i16,
    mut fields: Fields<'a>,
    learn: impl FnMut([u8; 16], &str),
) -> About<'a> {
    let mut about = About::default();
    let fields = &mut fields;
    let _cut_off = match api.shape {
        Shape::Produce => produced(version, fields, &mut about),
        Shape::Fetch => fetched(version, fields, &mut about),
        Shape::Metadata => metadata(version, fields, &mut about, learn),
        Shape::ListOffsets => partitions(version >= 2, 0, fields, &mut about),
        Shape::OffsetCommit => partitions(version >= 3, 0, fields, &mut about),
        Shape::OffsetFetch if version < 8 => {
            let skipped = if version >= 5 { 12 } else { 8 };
            partitions(version >= 3, skipped, fields, &mut about)
        }
        Shape::CreateTopics => topics(version >= 2, version >= 7, fields, &mut about),
        Shape::DeleteTopics => topics(version >= 1, version >= 6, fields, &mut about),
        Shape::FindCoordinator if version < 4 => plain(version >= 1, fields, &mut about),
        Shape::Group(from) | Shape::Plain(from) => plain(version >= from, fields, &mut about),
        Shape::FindCoordinator | Shape::OffsetFetch | Shape::Opaque => Some(()),
    };
    about
}

fn plain(timed: bool, fields: &mut Fields<'_>, about: &mut About<'_>) -> Option<()> {
    if timed {
        fields.i32()?;
    }
    about.failed(fields.i16())
}

fn produced<'a>(version: i16, fields: &mut Fields<'a>, about: &mut About<'a>) -> Option<()> {
    let topics = fields.count()?;
    about.topics(topics);
    for _ in 0..topics {
        about.topic(topic(version >= 13, fields)?);
        let partitions = fields.count()?;
        for _ in 0..partitions {
            let partition = fields.i32()?;
            about.failed(fields.i16())?;
            let offset = fields.i64()?;
            about.partition(partitions > 1, partition, Some(offset).filter(|it| *it >= 0));
            fields.bytes(if version >= 2 { 8 } else { 0 })?;
            fields.bytes(if version >= 5 { 8 } else { 0 })?;
            if version >= 8 {
                for _ in 0..fields.count()? {
                    fields.i32()?;
                    fields.text()?;
                    fields.tags()?;
                }
                fields.text()?;
            }
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(())
}

fn fetched<'a>(version: i16, fields: &mut Fields<'a>, about: &mut About<'a>) -> Option<()> {
    fields.bytes(if version >= 1 { 4 } else { 0 })?;
    if version >= 7 {
        about.failed(fields.i16())?;
        fields.i32()?;
    }
    let topics = fields.count()?;
    about.topics(topics);
    let mut sum = About { count: Some(0), ..About::default() };
    for _ in 0..topics {
        about.topic(topic(version >= 13, fields)?);
        let partitions = fields.count()?;
        for _ in 0..partitions {
            let partition = fields.i32()?;
            about.failed(fields.i16())?;
            aborted(version, fields)?;
            let (length, kept) = fields.blob()?;
            let records = records(length, kept);
            about.partition(partitions > 1, partition, records.offset);
            sum.add(&records);
            let last = topics == 1 && partitions == 1;
            about.records = last.then_some(records);
            if kept.len() < length && !last {
                return None;
            }
            fields.tags();
        }
        fields.tags();
    }
    about.count = sum.count;
    Some(())
}

/// What stands between the error of a partition and its records.
fn aborted(version: i16, fields: &mut Fields<'_>) -> Option<()> {
    fields.bytes(8)?;
    fields.bytes(if version >= 4 { 8 } else { 0 })?;
    fields.bytes(if version >= 5 { 8 } else { 0 })?;
    if version >= 4 {
        for _ in 0..fields.count()? {
            fields.bytes(16)?;
            fields.tags()?;
        }
    }
    fields.bytes(if version >= 11 { 4 } else { 0 })?;
    Some(())
}

/// Topics with partitions, of which the error stands behind so many bytes, and ends the walk.
fn partitions<'a>(
    timed: bool,
    skipped: usize,
    fields: &mut Fields<'a>,
    about: &mut About<'a>,
) -> Option<()> {
    fields.bytes(if timed { 4 } else { 0 })?;
    let topics = fields.count()?;
    about.topics(topics);
    about.topic(topic(false, fields)?);
    let partitions = fields.count()?;
    about.partition(partitions > 1, fields.i32()?, None);
    fields.bytes(skipped)?;
    if skipped > 0 {
        fields.text()?;
    }
    about.failed(fields.i16())
}

/// Topics with an error each; only the first is looked at.
fn topics<'a>(
    timed: bool,
    numbered: bool,
    fields: &mut Fields<'a>,
    about: &mut About<'a>,
) -> Option<()> {
    fields.bytes(if timed { 4 } else { 0 })?;
    let count = fields.count()?;
    about.topics(count);
    if let Some(name) = fields.text()? {
        about.topic(Topic::Named(name));
    }
    fields.bytes(if numbered { 16 } else { 0 })?;
    about.failed(fields.i16())
}

fn metadata<'a>(
    version: i16,
    fields: &mut Fields<'a>,
    about: &mut About<'a>,
    mut learn: impl FnMut([u8; 16], &str),
) -> Option<()> {
    fields.bytes(if version >= 3 { 4 } else { 0 })?;
    for _ in 0..fields.count()? {
        fields.i32()?;
        fields.text()?;
        fields.i32()?;
        if version >= 1 {
            fields.text()?;
        }
        fields.tags()?;
    }
    if version >= 2 {
        fields.text()?;
    }
    fields.bytes(if version >= 1 { 4 } else { 0 })?;
    let topics = fields.count()?;
    about.topics(topics);
    for _ in 0..topics.min(TOPICS_MAX) {
        about.failed(fields.i16())?;
        let name = fields.text()?;
        if version >= 10 {
            let number = fields.uuid()?;
            name.into_iter().for_each(|name| learn(number, name));
        }
        name.into_iter().for_each(|name| about.topic(Topic::Named(name)));
        fields.bytes(if version >= 1 { 1 } else { 0 })?;
        for _ in 0..fields.count()? {
            // The error of a partition, its number, its leader.
            fields.bytes(2 + 4 + 4)?;
            fields.bytes(if version >= 7 { 4 } else { 0 })?;
            fields.skip_numbers()?;
            fields.skip_numbers()?;
            if version >= 5 {
                fields.skip_numbers()?;
            }
            fields.tags()?;
        }
        fields.bytes(if version >= 8 { 4 } else { 0 })?;
        fields.tags()?;
    }
    Some(())
}
