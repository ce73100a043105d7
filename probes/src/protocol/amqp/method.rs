//! Methods: what they are called, who sends them, what answers them, and their arguments.
//!
//! Invariant: a method counts only where its arguments fill its frame to the last byte, so that
//! hardly anything else is taken for one.

use super::field::Fields;
use crate::protocol::dialogue::Side;

/// A class of methods, and the method in it.
pub(super) type Id = (u16, u16);

pub(super) const START: Id = (10, 10);
pub(super) const START_OK: Id = (10, 11);
pub(super) const SECURE: Id = (10, 20);
pub(super) const SECURE_OK: Id = (10, 21);
pub(super) const TUNE: Id = (10, 30);
pub(super) const TUNE_OK: Id = (10, 31);
pub(super) const OPEN: Id = (10, 40);
pub(super) const OPEN_OK: Id = (10, 41);
pub(super) const CLOSE: Id = (10, 50);
pub(super) const BLOCKED: Id = (10, 60);
pub(super) const UPDATE_SECRET: Id = (10, 70);
pub(super) const CHANNEL_OPEN: Id = (20, 10);
pub(super) const CHANNEL_CLOSE: Id = (20, 40);
pub(super) const CHANNEL_CLOSE_OK: Id = (20, 41);
pub(super) const QUEUE_DECLARE: Id = (50, 10);
pub(super) const QUEUE_DECLARE_OK: Id = (50, 11);
pub(super) const CONSUME: Id = (60, 20);
pub(super) const CONSUME_OK: Id = (60, 21);
pub(super) const CANCEL: Id = (60, 30);
pub(super) const PUBLISH: Id = (60, 40);
pub(super) const RETURN: Id = (60, 50);
pub(super) const DELIVER: Id = (60, 60);
pub(super) const GET: Id = (60, 70);
pub(super) const GET_OK: Id = (60, 71);
pub(super) const GET_EMPTY: Id = (60, 72);
pub(super) const ACK: Id = (60, 80);
pub(super) const REJECT: Id = (60, 90);
pub(super) const NACK: Id = (60, 120);
pub(super) const CONFIRM_SELECT: Id = (85, 10);

/// The class of everything that is about queues.
pub(super) const QUEUES: u16 = 50;

/// A kind of method.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) id: Id,
    pub(super) name: &'static str,
    /// Who sends it: the client, the server.
    from: [bool; 2],
    /// The method of its class that answers it.
    pub(super) answer: Option<u16>,
    /// The bit that asks for no answer.
    no_wait: u8,
    /// Its arguments: `b` bits or a byte, `h` 2, `I` 4 and `L` 8 bytes, `s` a short text, `l` a
    /// long one, `t` a table.
    shape: &'static str,
}

const CLIENT: [bool; 2] = [true, false];
const SERVER: [bool; 2] = [false, true];
const BOTH: [bool; 2] = [true, true];

const fn asks(id: Id, name: &'static str, answer: u16, no_wait: u8, shape: &'static str) -> Kind {
    Kind { id, name, from: CLIENT, answer: Some(answer), no_wait, shape }
}

const fn tells(id: Id, name: &'static str, from: [bool; 2], shape: &'static str) -> Kind {
    Kind { id, name, from, answer: None, no_wait: 0, shape }
}

/// Closing and flow control may begin at either end.
const fn either(id: Id, name: &'static str, answer: u16, shape: &'static str) -> Kind {
    Kind { id, name, from: BOTH, answer: Some(answer), no_wait: 0, shape }
}

/// All of them, with RabbitMQ's own.
#[rustfmt::skip]
const KINDS: &[Kind] = &[
    tells(START, "connection.start", SERVER, "bbtll"),
    tells(START_OK, "connection.start_ok", CLIENT, "tsls"),
    tells(SECURE, "connection.secure", SERVER, "l"),
    tells(SECURE_OK, "connection.secure_ok", CLIENT, "l"),
    tells(TUNE, "connection.tune", SERVER, "hIh"),
    tells(TUNE_OK, "connection.tune_ok", CLIENT, "hIh"),
    tells(OPEN, "connection.open", CLIENT, "ssb"),
    tells(OPEN_OK, "connection.open_ok", SERVER, "s"),
    either(CLOSE, "connection.close", 51, "hshh"),
    tells((10, 51), "connection.close_ok", BOTH, ""),
    tells(BLOCKED, "connection.blocked", SERVER, "s"),
    tells((10, 61), "connection.unblocked", SERVER, ""),
    asks(UPDATE_SECRET, "connection.update_secret", 71, 0, "ls"),
    tells((10, 71), "connection.update_secret_ok", SERVER, ""),
    asks(CHANNEL_OPEN, "channel.open", 11, 0, "s"),
    tells((20, 11), "channel.open_ok", SERVER, "l"),
    either((20, 20), "channel.flow", 21, "b"),
    tells((20, 21), "channel.flow_ok", BOTH, "b"),
    either(CHANNEL_CLOSE, "channel.close", 41, "hshh"),
    tells(CHANNEL_CLOSE_OK, "channel.close_ok", BOTH, ""),
    asks((30, 10), "access.request", 11, 0, "sb"),
    tells((30, 11), "access.request_ok", SERVER, "h"),
    asks((40, 10), "exchange.declare", 11, 16, "hssbt"),
    tells((40, 11), "exchange.declare_ok", SERVER, ""),
    asks((40, 20), "exchange.delete", 21, 2, "hsb"),
    tells((40, 21), "exchange.delete_ok", SERVER, ""),
    asks((40, 30), "exchange.bind", 31, 1, "hsssbt"),
    tells((40, 31), "exchange.bind_ok", SERVER, ""),
    asks((40, 40), "exchange.unbind", 51, 1, "hsssbt"),
    tells((40, 51), "exchange.unbind_ok", SERVER, ""),
    asks(QUEUE_DECLARE, "queue.declare", 11, 16, "hsbt"),
    tells(QUEUE_DECLARE_OK, "queue.declare_ok", SERVER, "sII"),
    asks((QUEUES, 20), "queue.bind", 21, 1, "hsssbt"),
    tells((QUEUES, 21), "queue.bind_ok", SERVER, ""),
    asks((QUEUES, 30), "queue.purge", 31, 1, "hsb"),
    tells((QUEUES, 31), "queue.purge_ok", SERVER, "I"),
    asks((QUEUES, 40), "queue.delete", 41, 4, "hsb"),
    tells((QUEUES, 41), "queue.delete_ok", SERVER, "I"),
    asks((QUEUES, 50), "queue.unbind", 51, 0, "hssst"),
    tells((QUEUES, 51), "queue.unbind_ok", SERVER, ""),
    asks((60, 10), "qos", 11, 0, "Ihb"),
    tells((60, 11), "qos_ok", SERVER, ""),
    asks(CONSUME, "consume", 21, 8, "hssbt"),
    tells(CONSUME_OK, "consume_ok", SERVER, "s"),
    Kind { id: CANCEL, name: "cancel", from: BOTH, answer: Some(31), no_wait: 1, shape: "sb" },
    tells((60, 31), "cancel_ok", BOTH, "s"),
    tells(PUBLISH, "publish", CLIENT, "hssb"),
    tells(RETURN, "return", SERVER, "hsss"),
    tells(DELIVER, "deliver", SERVER, "sLbss"),
    asks(GET, "get", 71, 0, "hsb"),
    tells(GET_OK, "get_ok", SERVER, "LbssI"),
    tells(GET_EMPTY, "get_empty", SERVER, "s"),
    tells(ACK, "ack", BOTH, "Lb"),
    tells(REJECT, "reject", CLIENT, "Lb"),
    tells((60, 100), "recover_async", CLIENT, "b"),
    asks((60, 110), "recover", 111, 0, "b"),
    tells((60, 111), "recover_ok", SERVER, ""),
    tells(NACK, "nack", BOTH, "Lb"),
    asks(CONFIRM_SELECT, "confirm.select", 11, 1, "b"),
    tells((85, 11), "confirm.select_ok", SERVER, ""),
    asks((90, 10), "tx.select", 11, 0, ""),
    tells((90, 11), "tx.select_ok", SERVER, ""),
    asks((90, 20), "tx.commit", 21, 0, ""),
    tells((90, 21), "tx.commit_ok", SERVER, ""),
    asks((90, 30), "tx.rollback", 31, 0, ""),
    tells((90, 31), "tx.rollback_ok", SERVER, ""),
];

/// The kind with these numbers.
pub(super) fn kind(id: Id) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.id == id)
}

/// A method with its arguments, in the order of their kinds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) kind: &'static Kind,
    /// Its short texts.
    pub(super) texts: [&'a [u8]; 3],
    /// Its numbers of two bytes.
    pub(super) numbers: [u16; 3],
    /// Its number of eight bytes.
    pub(super) tag: u64,
    /// The byte that came last.
    pub(super) bits: u8,
    /// Its first table.
    pub(super) table: &'a [u8],
}

/// Reads the method that fills these bytes, if this side sends such a one.
pub(super) fn read(side: Side, payload: &[u8]) -> Option<Method<'_>> {
    let mut fields = Fields::new(payload);
    let kind = kind((fields.u16()?, fields.u16()?))?;
    if !kind.from[usize::from(side == Side::Responses)] {
        return None;
    }
    let empty = [b"".as_slice(); 3];
    let mut method = Method { kind, texts: empty, numbers: [0; 3], tag: 0, bits: 0, table: b"" };
    let (mut texts, mut numbers) = (0, 0);
    for part in kind.shape.bytes() {
        match part {
            b'b' => method.bits = fields.u8()?,
            b'h' => {
                *method.numbers.get_mut(numbers)? = fields.u16()?;
                numbers += 1;
            }
            b's' => {
                *method.texts.get_mut(texts)? = fields.short_text()?;
                texts += 1;
            }
            b'I' => drop(fields.u32()?),
            b'L' => method.tag = fields.u64()?,
            b't' => method.table = fields.long()?,
            _ => drop(fields.long()?),
        }
    }
    fields.is_empty().then_some(method)
}

impl Method<'_> {
    pub(super) fn id(&self) -> Id {
        self.kind.id
    }

    /// Only one end sends it.
    pub(super) fn tells_the_side(&self) -> bool {
        self.kind.from != BOTH
    }

    /// The method that will answer it.
    pub(super) fn answer(&self) -> Option<u16> {
        self.kind.answer.filter(|_| self.bits & self.kind.no_wait == 0)
    }
}
