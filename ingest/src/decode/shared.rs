//! Where a row came from: the columns of resource and scope, filled once for all of their rows.
//!
//! Invariant: after a resource is done, every column here is as long as the table.

use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use icecore_store::model::value::write_string;

use super::attributes::Map;
use super::columns::{Named, Numbers, Texts};
use super::shape;
use super::value::{self, ObjectText, Value};
use super::wire::{Broken, Pieces, Reader, delimited, fields, text, varint};

/// What `service_name` says where the resource has no `service.name`.
const UNKNOWN_SERVICE: &[u8] = b"unknown_service";

/// The columns that every table shares.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) map: Map,
    service_name: Texts,
    overflow: Texts,
    dropped: Numbers<UInt32Type>,
    schema_url: Texts,
    entity_refs: Texts,
    scope_name: Texts,
    scope_version: Texts,
    scope_attributes: Texts,
    scope_dropped: Numbers<UInt32Type>,
    scope_schema_url: Texts,
    object: ObjectText,
}

impl Shared {
    /// The last `rows` rows came from this resource; `limit` is that within it.
    pub(super) fn put_resource(
        &mut self,
        pieces: &Pieces<'_>,
        schema_url: &[u8],
        rows: usize,
        limit: u32,
    ) -> Result<(), Broken> {
        if rows == 0 {
            text(schema_url)?;
            let mut pieces = pieces.as_slice().iter();
            return pieces.try_for_each(|piece| shape::check(&shape::RESOURCE, piece, limit));
        }
        let resource = Resource::read(pieces, limit)?;
        let row = self.dropped.len();
        self.map.put_all(&resource.attributes, limit - 1, row, rows)?;
        self.map.rest.finish(|rest| self.overflow.extend(rest, rows));
        self.dropped.extend(Some(resource.dropped), rows);
        self.schema_url.extend_unless_empty(schema_url, rows);
        self.entity_refs.extend_unless_empty(&entity_refs(&resource.entities, limit - 1)?, rows);
        self.service_name.extend(Some(service_name(&resource, limit - 1)?), rows);
        Ok(())
    }

    /// The last `rows` rows came from this scope; `limit` is that within it.
    pub(super) fn put_scope(
        &mut self,
        pieces: &Pieces<'_>,
        schema_url: &[u8],
        rows: usize,
        limit: u32,
    ) -> Result<(), Broken> {
        if rows == 0 {
            text(schema_url)?;
            let mut pieces = pieces.as_slice().iter();
            return pieces.try_for_each(|piece| shape::check(&shape::SCOPE, piece, limit));
        }
        let scope = Scope::read(pieces, limit)?;
        self.scope_name.extend_unless_empty(scope.name, rows);
        self.scope_version.extend_unless_empty(scope.version, rows);
        self.object.push_all(&scope.attributes, limit - 1)?;
        self.object.finish(|attributes| self.scope_attributes.extend(attributes, rows));
        self.scope_dropped.extend(Some(scope.dropped), rows);
        self.scope_schema_url.extend_unless_empty(schema_url, rows);
        Ok(())
    }

    /// Name and array of every column but those of the attribute keys.
    pub(super) fn finish(self) -> Result<(Named, Map), ArrowError> {
        let arrays = vec![
            ("service_name", self.service_name.finish()?),
            ("resource", self.overflow.finish()?),
            ("resource_dropped_attributes_count", self.dropped.finish()),
            ("resource_schema_url", self.schema_url.finish()?),
            ("resource_entity_refs", self.entity_refs.finish()?),
            ("scope_name", self.scope_name.finish()?),
            ("scope_version", self.scope_version.finish()?),
            ("scope_attributes", self.scope_attributes.finish()?),
            ("scope_dropped_attributes_count", self.scope_dropped.finish()),
            ("scope_schema_url", self.scope_schema_url.finish()?),
        ];
        Ok((arrays, self.map))
    }
}

#[derive(Debug, Default)]
struct Resource<'a> {
    attributes: Vec<&'a [u8]>,
    dropped: u32,
    entities: Vec<&'a [u8]>,
}

impl<'a> Resource<'a> {
    fn read(pieces: &Pieces<'a>, limit: u32) -> Result<Self, Broken> {
        const ATTRIBUTE: u32 = delimited(1);
        const DROPPED: u32 = varint(2);
        const ENTITY: u32 = delimited(3);
        let mut resource = Self::default();
        for piece in pieces.as_slice() {
            let mut reader = Reader::new(piece, limit);
            while let Some(key) = reader.key()? {
                match key {
                    ATTRIBUTE => resource.attributes.push(reader.message()?),
                    DROPPED => resource.dropped = reader.uint32()?,
                    ENTITY => resource.entities.push(reader.message()?),
                    _ => reader.skip(key, fields(&[1, 2, 3]))?,
                }
            }
        }
        Ok(resource)
    }
}

/// The first `service.name` that is a text with something in it.
fn service_name<'a>(resource: &Resource<'a>, limit: u32) -> Result<&'a [u8], Broken> {
    for attribute in &resource.attributes {
        if let (b"service.name", Value::Text(name)) = value::key_value(attribute, limit)?
            && !name.is_empty()
        {
            return Ok(name);
        }
    }
    Ok(UNKNOWN_SERVICE)
}

#[derive(Debug, Default)]
struct Scope<'a> {
    name: &'a [u8],
    version: &'a [u8],
    attributes: Vec<&'a [u8]>,
    dropped: u32,
}

impl<'a> Scope<'a> {
    fn read(pieces: &Pieces<'a>, limit: u32) -> Result<Self, Broken> {
        const NAME: u32 = delimited(1);
        const VERSION: u32 = delimited(2);
        const ATTRIBUTE: u32 = delimited(3);
        const DROPPED: u32 = varint(4);
        let mut scope = Self::default();
        for piece in pieces.as_slice() {
            let mut reader = Reader::new(piece, limit);
            while let Some(key) = reader.key()? {
                match key {
                    NAME => reader.text_into(&mut scope.name)?,
                    VERSION => reader.text_into(&mut scope.version)?,
                    ATTRIBUTE => scope.attributes.push(reader.message()?),
                    DROPPED => scope.dropped = reader.uint32()?,
                    _ => reader.skip(key, fields(&[1, 2, 3, 4]))?,
                }
            }
        }
        Ok(scope)
    }
}

/// The JSON array of `EntityRef` messages; empty where there are none.
fn entity_refs(entities: &[&[u8]], limit: u32) -> Result<Vec<u8>, Broken> {
    let mut out = String::new();
    for entity in entities {
        out.push(if out.is_empty() { '[' } else { ',' });
        write_entity_ref(&mut out, entity, limit)?;
    }
    if !entities.is_empty() {
        out.push(']');
    }
    Ok(out.into_bytes())
}

fn write_entity_ref(out: &mut String, bytes: &[u8], limit: u32) -> Result<(), Broken> {
    const SCHEMA_URL: u32 = delimited(1);
    const TYPE: u32 = delimited(2);
    const ID_KEY: u32 = delimited(3);
    const DESCRIPTION_KEY: u32 = delimited(4);
    let mut reader = Reader::new(bytes, limit);
    let (mut schema_url, mut kind) = (&[][..], &[][..]);
    let (mut id_keys, mut description_keys) = (Vec::new(), Vec::new());
    while let Some(key) = reader.key()? {
        match key {
            SCHEMA_URL => reader.text_into(&mut schema_url)?,
            TYPE => reader.text_into(&mut kind)?,
            ID_KEY => id_keys.push(text(reader.bytes()?)?),
            DESCRIPTION_KEY => description_keys.push(text(reader.bytes()?)?),
            _ => reader.skip(key, fields(&[1, 2, 3, 4]))?,
        }
    }
    out.push_str("{\"schema_url\":");
    write_string(out, text(schema_url)?);
    out.push_str(",\"type\":");
    write_string(out, text(kind)?);
    out.push_str(",\"id_keys\":");
    write_strings(out, &id_keys);
    out.push_str(",\"description_keys\":");
    write_strings(out, &description_keys);
    out.push('}');
    Ok(())
}

fn write_strings(out: &mut String, texts: &[&str]) {
    out.push('[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(out, text);
    }
    out.push(']');
}
