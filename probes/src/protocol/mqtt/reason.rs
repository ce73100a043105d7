//! Why a broker, or a client, refused something.
//!
//! Invariant: what is no error has no name.

/// By number, from the first that stands for an error.
const NAMES: [&str; 35] = [
    "unspecified_error",
    "malformed_packet",
    "protocol_error",
    "implementation_specific_error",
    "unsupported_protocol_version",
    "client_identifier_not_valid",
    "bad_user_name_or_password",
    "not_authorized",
    "server_unavailable",
    "server_busy",
    "banned",
    "server_shutting_down",
    "bad_authentication_method",
    "keep_alive_timeout",
    "session_taken_over",
    "topic_filter_invalid",
    "topic_name_invalid",
    "packet_identifier_in_use",
    "packet_identifier_not_found",
    "receive_maximum_exceeded",
    "topic_alias_invalid",
    "packet_too_large",
    "message_rate_too_high",
    "quota_exceeded",
    "administrative_action",
    "payload_format_invalid",
    "retain_not_supported",
    "qos_not_supported",
    "use_another_server",
    "server_moved",
    "shared_subscriptions_not_supported",
    "connection_rate_exceeded",
    "maximum_connect_time",
    "subscription_identifiers_not_supported",
    "wildcard_subscriptions_not_supported",
];
const FIRST: u8 = 0x80;
/// Of versions before the fifth, when a connection is refused.
const REFUSED: [&str; 5] = [
    "unsupported_protocol_version",
    "client_identifier_not_valid",
    "server_unavailable",
    "bad_user_name_or_password",
    "not_authorized",
];

/// The name of an error.
pub(super) fn name(reason: u8) -> Option<String> {
    let at = reason.checked_sub(FIRST)?;
    let known = NAMES.get(usize::from(at)).map(|name| (*name).to_owned());
    Some(known.unwrap_or_else(|| format!("0x{reason:02x}")))
}

/// The name of an error when a connection is asked for.
pub(super) fn refused(reason: u8) -> Option<String> {
    let at = usize::from(reason).checked_sub(1)?;
    REFUSED.get(at).map(|name| (*name).to_owned()).or_else(|| name(reason))
}
