//! `GET /asyncapi.json`: the topics that run and their messages, as AsyncAPI 3.0 describes them.

use http::Request;
use serde_json::{Map, Value, json};

use super::front::{Answer, Front, json, text};
use super::gate;
use super::topics::Topic;
use crate::source::arrays::{ArraySpec, Dtype};
use crate::source::spec::Feed;

/// Answers a request for the description of the topics that the one who asks may listen to.
pub fn answer(front: &Front, request: &Request<()>) -> Answer {
    let described = || {
        let caller = gate::caller(&front.common, request, "", None)?;
        caller
            .check_listen_at_all()
            .map_err(|denied| gate::refused(&front.common, request, &denied))?;
        let topics = gate::public_topics(&front.common, &caller);
        // It was checked to be one of ours.
        let host = text(request.headers(), "host").unwrap_or("localhost");
        Ok(json(&document(host, front.encryption.is_some(), topics)))
    };
    described().unwrap_or_else(|refusal: Box<Answer>| *refusal)
}

fn document<'a>(host: &str, is_encrypted: bool, topics: impl Iterator<Item = &'a Topic>) -> Value {
    let protocol = |name: &str| match is_encrypted {
        true => format!("{name}s"),
        false => name.to_owned(),
    };
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for topic in topics {
        let name = topic.name().as_str();
        channels.insert(name.to_owned(), stream(name));
        operations.insert(format!("{name}.stream"), operation("send", name, name));
        messages.insert(name.to_owned(), message(name, &topic.config.source.feed));
        if topic.takes_pushes() {
            let publishing = format!("{name}.publishing");
            channels.insert(publishing.clone(), publish(name));
            operations.insert(
                format!("{name}.publish"),
                operation("receive", &publishing, "published"),
            );
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lapwing",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The topics that run on this server now. PROTOCOL.md says how they are followed, resumed and filled.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": {
            "stream": {"host": host, "protocol": protocol("ws")},
            "http": {"host": host, "protocol": protocol("http")},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    })
}

/// Where a topic is followed.
fn stream(name: &str) -> Value {
    json!({
        "address": "/ws",
        "title": name,
        "description": format!("The messages of {name}, as they come. Without WebSocket: GET /topics/{name}/events."),
        "servers": [{"$ref": "#/servers/stream"}],
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        "bindings": {"ws": {"method": "GET", "query": {
            "type": "object",
            "required": ["topics"],
            "properties": {
                "topics": {"type": "string", "const": name},
                "from": {"type": "string", "default": "latest"},
                "encoding": {"enum": ["json", "binary"], "default": "json"},
                "name": {"type": "string", "minLength": 1, "maxLength": 64},
            },
        }}},
    })
}

/// Where a topic is filled.
fn publish(name: &str) -> Value {
    json!({
        "address": format!("/topics/{name}/messages"),
        "title": format!("publishing to {name}"),
        "servers": [{"$ref": "#/servers/http"}],
        "messages": {"published": {"title": "one message", "contentType": "application/json", "payload": {}}},
    })
}

fn operation(action: &str, channel: &str, message: &str) -> Value {
    let mut operation = json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "messages": [{"$ref": format!("#/channels/{channel}/messages/{message}")}],
    });
    if action == "receive" {
        operation["bindings"] = json!({"http": {"method": "POST"}});
    }
    operation
}

/// A message in its envelope.
fn message(name: &str, feed: &Feed) -> Value {
    let (data, may_be_bytes) = match feed {
        Feed::Users(_) => (person(), false),
        Feed::Arrays(spec) => (arrays(spec), false),
        // Lines of text and JSON; only publishers and recordings have bytes.
        Feed::Stdin | Feed::Tail(..) | Feed::Exec(..) => (json!({}), false),
        Feed::Push | Feed::Replay(..) | Feed::Own => (json!({}), true),
    };
    let mut payload = json!({
        "type": "object",
        "required": ["topic", "offset", "time"],
        "properties": {
            "topic": {"const": name},
            "offset": {"type": "integer", "minimum": 0},
            "time": {"type": "string", "format": "date-time"},
            "data": data,
        },
    });
    match may_be_bytes {
        true => {
            payload["properties"]["data_base64"] = json!({"type": "string", "contentEncoding": "base64"});
            payload["oneOf"] = json!([{"required": ["data"]}, {"required": ["data_base64"]}]);
        }
        false => payload["required"] = json!(["topic", "offset", "time", "data"]),
    }
    json!({"name": name, "title": format!("a message of {name}"), "contentType": "application/json", "payload": payload})
}

/// A random person: all fields are always there.
fn person() -> Value {
    let object = |fields: &[(&str, Value)]| {
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        let properties: Map<_, _> = fields
            .iter()
            .map(|(name, field)| ((*name).to_owned(), field.clone()))
            .collect();
        json!({"type": "object", "required": names, "properties": properties, "additionalProperties": false})
    };
    let text = || json!({"type": "string"});
    let address = ["street", "city", "region", "postcode", "country"].map(|name| (name, text()));
    object(&[
        ("name", text()),
        ("sex", json!({"enum": ["female", "male"]})),
        ("username", text()),
        ("email", json!({"type": "string", "format": "email"})),
        ("birth_date", json!({"type": "string", "format": "date"})),
        ("job", text()),
        ("company", json!({"type": ["string", "null"]})),
        ("address", object(&address)),
        ("phone", text()),
    ])
}

/// Nested lists of the shape that was asked for.
fn arrays(spec: &ArraySpec) -> Value {
    let element = match spec.dtype() {
        Dtype::Float32 | Dtype::Float64 => json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        _ => {
            let (low, high) = spec.bounds();
            json!({"type": "integer", "minimum": number(low), "maximum": number(high - 1)})
        }
    };
    let lists = spec.message_shape().into_iter().rev();
    lists.fold(
        element,
        |items, size| json!({"type": "array", "items": items, "minItems": size, "maxItems": size}),
    )
}

/// Bounds lie within what 64 bits hold, with a sign or without.
fn number(bound: i128) -> Value {
    i64::try_from(bound).map_or_else(
        |_| json!(u64::try_from(bound).unwrap_or(u64::MAX)),
        |bound| json!(bound),
    )
}
