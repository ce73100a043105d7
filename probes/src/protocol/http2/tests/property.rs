//! Random conversations of many streams: however they are cut they mean the same, whatever is lost
//! never misleads.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One exchange to be played.
#[derive(Debug, Clone)]
struct Planned {
    status: &'static str,
    request: Option<Vec<usize>>,
    response: Vec<usize>,
    trailers: bool,
}

fn planned() -> impl Strategy<Value = Planned> {
    let status = prop::sample::select(vec!["200", "204", "404", "503"]);
    let bodies = || vec(0..300_usize, 0..4);
    (status, prop::option::of(bodies()), bodies(), any::<bool>()).prop_map(
        |(status, request, response, trailers)| Planned { status, request, response, trailers },
    )
}

impl Planned {
    fn told(&self, index: usize) -> String {
        let sent: usize = self.request.iter().flatten().sum();
        let received: usize = self.response.iter().sum();
        let method = if self.request.is_some() { "POST" } else { "GET" };
        format!("{method} /{index} {} {sent}>{received}", self.status)
    }

    /// The answer names the request, in `content-type`.
    fn frames(&self, index: usize, ends: &mut Ends) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let stream = u32::try_from(index).unwrap() * 2 + 1;
        let path = format!("/{index}");
        let body = |sizes: &[usize]| -> Vec<_> {
            sizes.iter().map(|&size| frame(DATA, 0, stream, vec![b'x'; size])).collect()
        };
        let mut request = match &self.request {
            None => vec![ends.get(stream, &path)],
            Some(_) => vec![ends.post(stream, &path)],
        };
        if let Some(sizes) = &self.request {
            request.extend(body(sizes));
            request.push(frame(DATA, END_STREAM, stream, b""));
        }
        let fields = [(":status", self.status), ("content-type", path.as_str())];
        let mut response = vec![ends.fields(stream, 0, &fields)];
        response.extend(body(&self.response));
        response.push(match self.trailers {
            true => ends.fields(stream, END_STREAM, &[("x-sum", "1")]),
            false => frame(DATA, END_STREAM, stream, b""),
        });
        (request, response)
    }
}

/// All frames in an order in which they may come: `together` requests at a time, their frames and
/// those of their answers in turn.
fn conversation(plan: &[Planned], together: usize) -> Vec<Step> {
    let mut ends = Ends::new();
    let mut steps = opening().to_vec();
    for (batch, group) in plan.chunks(together).enumerate() {
        let mut asked = Vec::new();
        let mut answered = Vec::new();
        for (at, one) in group.iter().enumerate() {
            let (request, response) = one.frames(batch * together + at, &mut ends);
            asked.push(request);
            answered.push(response);
        }
        steps.extend(in_turn(asked).into_iter().map(ask));
        steps.extend(in_turn(answered).into_iter().map(answer));
    }
    steps
}

/// The heads of all in order, since they refer to each other, and then the rest of each in turn.
fn in_turn(mut streams: Vec<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let trailers_last = streams.iter().map(Vec::len).max().unwrap_or(0);
    let mut frames = Vec::new();
    for _ in 0..trailers_last {
        for stream in &mut streams {
            if !stream.is_empty() {
                frames.push(stream.remove(0));
            }
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Scenario: a conversation of several streams, in parts of any size.
    /// Guarantees: exactly the planned exchanges with exact sizes; no byte unparsed.
    #[test]
    fn cutting_changes_nothing(
        plan in vec(planned(), 1..8),
        together in 1_usize..5,
        sizes in vec(1_usize..400, 1..20),
        server in any::<bool>(),
    ) {
        // Trailers refer to what heads before them added, so that they must come in that order.
        let plan: Vec<_> = plan.into_iter().map(|one| Planned { trailers: one.trailers && together == 1, ..one }).collect();
        let role = if server { Role::Server } else { Role::Client };
        let mut watched = Watched::new(role, Limits::default(), true);
        let mut sizes = sizes.iter().cycle();
        for (asks, bytes) in conversation(&plan, together) {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                watched.segment(asks, part, 0);
                rest = behind;
            }
        }
        prop_assert_eq!(watched.following.take_counts().unparsed_bytes, 0);
        let mut wanted: Vec<_> = plan.iter().enumerate().map(|(at, one)| one.told(at)).collect();
        let mut told: Vec<_> = watched.out.iter().map(told).collect();
        wanted.sort();
        told.sort();
        prop_assert_eq!(told, wanted);
    }

    /// Scenario: any frame is lost, without a word of how long it was.
    /// Guarantees: no panic, no answer at the wrong request, no request twice.
    #[test]
    fn losses_never_mislead(
        plan in vec(planned(), 1..10),
        together in 1_usize..5,
        lost in vec(prop::bool::weighted(0.15), 1..40),
        server in any::<bool>(),
    ) {
        let plan: Vec<_> = plan.into_iter().map(|one| Planned { trailers: false, ..one }).collect();
        let role = if server { Role::Server } else { Role::Client };
        let mut parser = Http2::new(&Limits::default(), role, true);
        let (mut out, mut gaps, mut lost) = (Vec::new(), [false; 2], lost.iter().cycle());
        for (time, (asks, bytes)) in conversation(&plan, together).into_iter().enumerate() {
            let gap = &mut gaps[usize::from(asks)];
            if *lost.next().unwrap() {
                *gap = true;
                continue;
            }
            let direction = if asks { role.requests() } else { role.requests().opposite() };
            let gap_before = std::mem::take(gap);
            let time = time as u64;
            let segment = Segment { direction, time, captured: &bytes, omitted: 0, gap_before };
            parser.feed(&segment, &mut out);
        }
        parser.close(1_000, Closing::Orderly, &mut out);
        let mut targets = Vec::new();
        for exchange in &out {
            let Said::Http(call) = &exchange.said else { panic!("not HTTP") };
            if !call.target.is_empty() {
                targets.push(call.target.clone());
                for (_, answered) in &call.response_headers {
                    prop_assert_eq!(answered, &call.target);
                }
            }
        }
        let all = targets.len();
        targets.sort();
        targets.dedup();
        prop_assert_eq!(targets.len(), all);
    }
}
