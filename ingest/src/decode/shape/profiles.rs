//! The messages of `opentelemetry.proto.profiles.v1development`.

use super::Kind::{
    Bytes, Fixed64, Fixed64s, Id, Int32, Int32s, Int64, Int64s, Message, Messages, Text, Texts,
    Uint32, Uint64,
};
use super::{ANY_VALUE, RESOURCE, SCOPE, Shape, field, shape};

pub(super) static REQUEST: Shape = shape(&[
    field(1, "resourceProfiles", Messages(&RESOURCE_PROFILES)),
    field(2, "dictionary", Message(&DICTIONARY)),
]);

static RESOURCE_PROFILES: Shape = shape(&[
    field(1, "resource", Message(&RESOURCE)),
    field(2, "scopeProfiles", Messages(&SCOPE_PROFILES)),
    field(3, "schemaUrl", Text),
]);

static SCOPE_PROFILES: Shape = shape(&[
    field(1, "scope", Message(&SCOPE)),
    field(2, "profiles", Messages(&PROFILE)),
    field(3, "schemaUrl", Text),
]);

static DICTIONARY: Shape = shape(&[
    field(1, "mappingTable", Messages(&MAPPING)),
    field(2, "locationTable", Messages(&LOCATION)),
    field(3, "functionTable", Messages(&FUNCTION)),
    field(4, "linkTable", Messages(&LINK)),
    field(5, "stringTable", Texts),
    field(6, "attributeTable", Messages(&KEY_VALUE_AND_UNIT)),
    field(7, "stackTable", Messages(&STACK)),
]);

static PROFILE: Shape = shape(&[
    field(1, "sampleType", Message(&VALUE_TYPE)),
    field(2, "samples", Messages(&SAMPLE)),
    field(3, "timeUnixNano", Fixed64),
    field(4, "durationNano", Uint64),
    field(5, "periodType", Message(&VALUE_TYPE)),
    field(6, "period", Int64),
    field(7, "profileId", Id),
    field(8, "droppedAttributesCount", Uint32),
    field(9, "originalPayloadFormat", Text),
    field(10, "originalPayload", Bytes),
    field(11, "attributeIndices", Int32s),
]);

static VALUE_TYPE: Shape =
    shape(&[field(1, "typeStrindex", Int32), field(2, "unitStrindex", Int32)]);

static SAMPLE: Shape = shape(&[
    field(1, "stackIndex", Int32),
    field(2, "attributeIndices", Int32s),
    field(3, "linkIndex", Int32),
    field(4, "values", Int64s),
    field(5, "timestampsUnixNano", Fixed64s),
]);

static MAPPING: Shape = shape(&[
    field(1, "memoryStart", Uint64),
    field(2, "memoryLimit", Uint64),
    field(3, "fileOffset", Uint64),
    field(4, "filenameStrindex", Int32),
    field(5, "attributeIndices", Int32s),
]);

static STACK: Shape = shape(&[field(1, "locationIndices", Int32s)]);

static LOCATION: Shape = shape(&[
    field(1, "mappingIndex", Int32),
    field(2, "address", Uint64),
    field(3, "lines", Messages(&LINE)),
    field(4, "attributeIndices", Int32s),
]);

static LINE: Shape =
    shape(&[field(1, "functionIndex", Int32), field(2, "line", Int64), field(3, "column", Int64)]);

static FUNCTION: Shape = shape(&[
    field(1, "nameStrindex", Int32),
    field(2, "systemNameStrindex", Int32),
    field(3, "filenameStrindex", Int32),
    field(4, "startLine", Int64),
]);

static LINK: Shape = shape(&[field(1, "traceId", Id), field(2, "spanId", Id)]);

static KEY_VALUE_AND_UNIT: Shape = shape(&[
    field(1, "keyStrindex", Int32),
    field(2, "value", Message(&ANY_VALUE)),
    field(3, "unitStrindex", Int32),
]);
