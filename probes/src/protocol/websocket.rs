//! WebSocket (RFC 6455), behind the upgrade of a connection.
//!
//! Invariants: payload is counted and never held; what was lost makes counts lower bounds, which
//! are told as such. A connection is one exchange, told once: when both ends have said goodbye, or
//! when it ends.

mod lane;
#[cfg(test)]
mod tests;

use lane::{Event, Lane};

use super::{
    BodySize, Closing, Counts, Direction, Exchange, Failure, HttpCall, Protocol, Role, Said,
    Segment, SocketCall,
};

/// Calls in a row that begin with no frame before the connection is not looked at any more.
const LOST_SEGMENTS_MAX: u32 = 64;

/// The parser of one connection that was upgraded.
#[derive(Debug)]
pub(super) struct WebSocket {
    role: Role,
    counts: Counts,
    client: Lane,
    server: Lane,
    /// None once it was told.
    exchange: Option<Exchange>,
    call: SocketCall,
    lost_segments: u32,
}

impl WebSocket {
    /// The connection that `upgrade` began, which was answered just now.
    pub(super) fn new(upgrade: &Exchange, call: HttpCall) -> Self {
        let exchange = Exchange {
            // No request can follow the upgrade, so that its number is free.
            ordinal: upgrade.ordinal.map(|ordinal| ordinal + 1),
            start: upgrade.end,
            request_captured: Vec::new(),
            response_captured: Vec::new(),
            ..upgrade.clone()
        };
        let HttpCall { target, request_headers: headers, .. } = call;
        Self {
            role: upgrade.role,
            counts: Counts::default(),
            client: Lane::new(true),
            server: Lane::new(false),
            exchange: Some(exchange),
            call: SocketCall { target, headers, ..SocketCall::default() },
            lost_segments: 0,
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        if direction == self.role.requests() { &mut self.client } else { &mut self.server }
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Goodbye { code }) => {
                self.call.close_code = self.call.close_code.or(code);
            }
            Some(Event::Broken) => self.counts.resyncs += 1,
            None => {}
        }
    }

    /// Tells the connection, if nobody did.
    fn tell(&mut self, time: u64, failure: Option<Failure>, out: &mut Vec<Exchange>) {
        let Some(exchange) = self.exchange.take() else { return };
        let size = |lane: &Lane| match lane.holed {
            true => BodySize::AtLeast(lane.bytes),
            false => BodySize::Exact(lane.bytes),
        };
        let messages = |lane: &Lane| (!lane.holed).then_some(lane.messages);
        let (sent, received) = (messages(&self.client), messages(&self.server));
        let call = SocketCall { sent, received, ..std::mem::take(&mut self.call) };
        out.push(Exchange {
            end: time.max(exchange.start),
            request_body: size(&self.client),
            response_body: size(&self.server),
            failure,
            said: Said::Socket(call),
            ..exchange
        });
    }
}

impl Protocol for WebSocket {
    fn feed(&mut self, segment: &Segment<'_>, out: &mut Vec<Exchange>) {
        let lane = self.lane(segment.direction);
        if segment.gap_before {
            lane.lose();
        }
        let mut input = segment.captured;
        lane.find(input);
        while !input.is_empty() && !self.lane(segment.direction).lost() {
            let event = self.lane(segment.direction).read(&mut input);
            self.take(event);
        }
        self.counts.unparsed_bytes += input.len() as u64;
        let lane = self.lane(segment.direction);
        lane.skip(segment.omitted);
        let (lost, (parsed, unparsed)) = (lane.lost(), lane.take_counts());
        self.lost_segments = if lost { self.lost_segments.saturating_add(1) } else { 0 };
        self.counts.parsed_bytes += parsed;
        self.counts.unparsed_bytes += unparsed;
        if self.client.goodbye && self.server.goodbye {
            self.tell(segment.time, None, out);
        }
    }

    fn close(&mut self, time: u64, closing: Closing, out: &mut Vec<Exchange>) {
        let unseen = self.client.lost() || self.server.lost();
        self.counts.unparsed_bytes += self.client.drop_held() + self.server.drop_held();
        let failure = match closing {
            _ if self.client.goodbye || self.server.goodbye => None,
            _ if unseen => Some(Failure::Unseen),
            Closing::Unwatched => Some(Failure::Unseen),
            Closing::Reset => Some(Failure::Reset),
            Closing::Orderly => Some(Failure::Closed),
        };
        self.tell(time, failure, out);
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.client.held_bytes() + self.server.held_bytes()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn finished(&self) -> bool {
        self.exchange.is_none() || self.lost_segments > LOST_SEGMENTS_MAX
    }
}
