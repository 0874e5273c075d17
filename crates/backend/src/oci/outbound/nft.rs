//! The packet filter's rules, as nf_tables takes them over netlink. In nft's own language:
//!
//! ```text
//! table inet homerun-KEY {
//!     chain input       { type filter hook input priority filter;
//!         iifname "hrKEY-*" drop }
//!     chain forward     { type filter hook forward priority filter;
//!         oifname "hrKEY-*" ct state established,related accept
//!         oifname "hrKEY-*" drop
//!         iifname "hrKEY-*" meta nfproto != ipv4 drop
//!         iifname "hrKEY-*" ip daddr 169.254.0.0/16 drop }
//!     chain postrouting { type nat hook postrouting priority srcnat;
//!         meta nfproto ipv4 ip saddr 100.N.0.0/16 oifname != "hrKEY-*" masquerade }
//! }
//! ```

use super::OutboundError;
use super::netlink::{Message, Socket};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const INET: u8 = 1;

const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_FILTER: u32 = 0;
const PRIORITY_SOURCE_NAT: u32 = 100;

const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const PROTOCOL_FAMILY: u32 = 15;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const REGISTER: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const SOURCE_ADDRESS: u32 = 12;
const DESTINATION_ADDRESS: u32 = 16;
/// Bits of a connection's state: established and related.
const OF_A_CONNECTION: u32 = 2 | 4;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Sets the rules; what the table held before goes in the same step.
pub(super) fn install(table: &str, prefix: &str, network: [u8; 2]) -> Result<(), OutboundError> {
    let chain = |name, kind, hook, priority| {
        message(NEW_CHAIN, libc::NLM_F_CREATE)
            .text(1, table)
            .text(3, name)
            .nest(4, |hooks| hooks.number(1, hook).number(2, priority))
            .text(7, kind)
    };
    let rule = |chain, expressions: fn(Message, &str, [u8; 2]) -> Message| {
        let rule = message(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND).text(1, table).text(2, chain);
        rule.nest(4, |list| expressions(list, prefix, network))
    };
    transaction(vec![
        // Deleting what does not exist fails, so it is made first.
        table_message(NEW_TABLE, table),
        table_message(DELETE_TABLE, table),
        table_message(NEW_TABLE, table),
        chain("input", "filter", HOOK_INPUT, PRIORITY_FILTER),
        chain("forward", "filter", HOOK_FORWARD, PRIORITY_FILTER),
        chain("postrouting", "nat", HOOK_POSTROUTING, PRIORITY_SOURCE_NAT),
        rule("input", |list, prefix, _| verdict(name(list, IN_NAME, EQUAL, prefix), DROP)),
        rule("forward", |list, prefix, _| verdict(known_connection(name(list, OUT_NAME, EQUAL, prefix)), ACCEPT)),
        rule("forward", |list, prefix, _| verdict(name(list, OUT_NAME, EQUAL, prefix), DROP)),
        rule("forward", |list, prefix, _| verdict(ipv4(name(list, IN_NAME, EQUAL, prefix), NOT_EQUAL), DROP)),
        rule("forward", |list, prefix, _| {
            verdict(address(ipv4(name(list, IN_NAME, EQUAL, prefix), EQUAL), DESTINATION_ADDRESS, [169, 254]), DROP)
        }),
        rule("postrouting", |list, prefix, network| {
            let matched = address(ipv4(list, EQUAL), SOURCE_ADDRESS, network);
            expression(name(matched, OUT_NAME, NOT_EQUAL, prefix), "masq", |data| data)
        }),
    ])
}

/// Removes the table, whether it is there or not.
pub(super) fn remove(table: &str) -> Result<(), OutboundError> {
    transaction(vec![table_message(NEW_TABLE, table), table_message(DELETE_TABLE, table)])
}

/// All or nothing.
fn transaction(messages: Vec<Message>) -> Result<(), OutboundError> {
    let acknowledged = messages.len();
    let edge = |kind| Message::new(kind, 0, &[0, 0, 0, SUBSYSTEM as u8]);
    let mut all = vec![edge(BATCH_BEGIN)];
    all.extend(messages);
    all.push(edge(BATCH_END));
    let mut socket = Socket::open(libc::NETLINK_NETFILTER).map_err(OutboundError::Socket)?;
    socket.batch(all, acknowledged).map_err(OutboundError::Filter)
}

fn message(kind: u16, flags: i32) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags | libc::NLM_F_ACK, &[INET, 0, 0, 0])
}

fn table_message(kind: u16, table: &str) -> Message {
    message(kind, if kind == NEW_TABLE { libc::NLM_F_CREATE } else { 0 }).text(1, table)
}

fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nest(1, |element| element.text(1, name).nest(2, data))
}

fn compare(list: Message, operator: u32, value: &[u8]) -> Message {
    expression(list, "cmp", |data| {
        data.number(1, REGISTER).number(2, operator).nest(3, |nested| nested.attribute(1, value))
    })
}

/// Matches interfaces whose name begins (or does not begin) with `prefix`.
fn name(list: Message, key: u32, operator: u32, prefix: &str) -> Message {
    let loaded = expression(list, "meta", |data| data.number(1, REGISTER).number(2, key));
    compare(loaded, operator, prefix.as_bytes())
}

fn ipv4(list: Message, operator: u32) -> Message {
    let loaded = expression(list, "meta", |data| data.number(1, REGISTER).number(2, PROTOCOL_FAMILY));
    compare(loaded, operator, &[libc::NFPROTO_IPV4 as u8])
}

/// Matches an IPv4 address by its first two octets.
fn address(list: Message, offset: u32, network: [u8; 2]) -> Message {
    let loaded = expression(list, "payload", |data| {
        data.number(1, REGISTER).number(2, NETWORK_HEADER).number(3, offset).number(4, network.len() as u32)
    });
    compare(loaded, EQUAL, &network)
}

fn known_connection(list: Message) -> Message {
    let loaded = expression(list, "ct", |data| data.number(1, REGISTER).number(2, 0));
    let masked = expression(loaded, "bitwise", |data| {
        data.number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, 4)
            .nest(4, |mask| mask.attribute(1, &OF_A_CONNECTION.to_ne_bytes()))
            .nest(5, |flip| flip.attribute(1, &[0; 4]))
    });
    compare(masked, NOT_EQUAL, &[0; 4])
}

fn verdict(list: Message, code: u32) -> Message {
    expression(list, "immediate", |data| {
        data.number(1, 0).nest(2, |nested| nested.nest(2, |verdict| verdict.number(1, code)))
    })
}
