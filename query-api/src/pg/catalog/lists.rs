//! The lists, with the columns that clients ask for.

use super::super::types::{Facts, KINDS, Type};
use super::rows::Rows;
use super::{DATABASE, Known, OWNER, PG_CATALOG};

/// Lists of `pg_catalog` that are told of.
pub(super) const OF_PG_CATALOG: [&str; 10] = [
    "pg_class",
    "pg_attribute",
    "pg_type",
    "pg_namespace",
    "pg_am",
    "pg_database",
    "pg_roles",
    "pg_user",
    "pg_tables",
    "pg_views",
];
/// Lists without rows that are there all the same, because clients look into them beside others.
pub(super) const EMPTY: [&str; 7] = [
    "pg_attrdef",
    "pg_description",
    "pg_collation",
    "pg_index",
    "pg_inherits",
    "pg_constraint",
    "pg_proc",
];
/// Lists of `information_schema` that are told of.
pub(super) const OF_INFORMATION: [&str; 4] = ["tables", "columns", "schemata", "views"];

const PUBLIC: i64 = 2200;
const OF_POSTGRES: i64 = 11;
const OF_STANDARD: i64 = 13_000;
const OWNER_ID: i64 = 10;
const HEAP: i64 = 2;

/// Those of `pg_catalog`.
pub(super) fn pg_catalog(known: &[Known]) -> Vec<(&'static str, Rows)> {
    let (views, tables): (Vec<&Known>, Vec<&Known>) = known.iter().partition(|table| table.is_view);
    let names =
        |known: &[&Known]| -> Vec<String> { known.iter().map(|it| it.name.clone()).collect() };
    let of_public = |known: &[&Known], name, owner| {
        Rows::new(known.len())
            .text(&["schemaname"], "public")
            .texts(name, names(known))
            .text(&[owner], OWNER)
    };
    vec![
        ("pg_class", classes(known)),
        ("pg_attribute", attributes(known)),
        ("pg_type", types()),
        ("pg_namespace", namespaces()),
        (
            "pg_am",
            Rows::new(1).int(&["oid"], HEAP).text(&["amname"], "heap").text(&["amtype"], "t"),
        ),
        ("pg_database", database()),
        ("pg_roles", role("rolname")),
        ("pg_user", role("usename")),
        ("pg_tables", of_public(&tables, "tablename", "tableowner")),
        ("pg_views", of_public(&views, "viewname", "viewowner")),
    ]
}

/// Those of [`EMPTY`].
pub(super) fn empty() -> Vec<(&'static str, Rows)> {
    let none = || Rows::new(0);
    let index = none()
        .int(&["indexrelid", "indrelid", "indnatts"], 0)
        .bools(&["indisprimary", "indisunique", "indisclustered", "indisvalid"], false)
        .bools(&["indisreplident", "indimmediate", "indisexclusion"], false)
        .nulls(&["indkey", "indoption", "indpred", "indexprs"]);
    let constraint = none()
        .int(&["oid", "conrelid", "conindid", "confrelid", "connamespace", "conparentid"], 0)
        .nulls(&["conname", "contype", "confupdtype", "confdeltype", "confmatchtype"])
        .bools(&["condeferrable", "condeferred", "convalidated"], false)
        .no_arrays(&["conkey", "confkey"]);
    vec![
        ("pg_attrdef", none().int(&["oid", "adrelid", "adnum"], 0).nulls(&["adbin"])),
        (
            "pg_description",
            none().int(&["objoid", "classoid", "objsubid"], 0).nulls(&["description"]),
        ),
        ("pg_collation", none().int(&["oid", "collnamespace"], 0).nulls(&["collname"])),
        ("pg_index", index),
        ("pg_inherits", none().int(&["inhrelid", "inhparent", "inhseqno"], 0)),
        ("pg_constraint", constraint),
        ("pg_proc", none().int(&["oid", "pronamespace", "prorettype"], 0).nulls(&["proname"])),
    ]
}

fn namespaces() -> Rows {
    Rows::new(3)
        .ints("oid", [PUBLIC, OF_POSTGRES, OF_STANDARD])
        .texts("nspname", ["public", PG_CATALOG, "information_schema"])
        .int(&["nspowner"], OWNER_ID)
        .no_arrays(&["nspacl"])
}

fn database() -> Rows {
    Rows::new(1)
        .int(&["oid"], 1)
        .text(&["datname"], DATABASE)
        .int(&["datdba"], OWNER_ID)
        .int(&["encoding"], 6)
        .text(&["datcollate", "datctype"], "C")
        .text(&["datlocprovider"], "c")
        .nulls(&["daticulocale", "daticurules"])
        .no_arrays(&["datacl"])
        .bools(&["datistemplate"], false)
        .bools(&["datallowconn"], true)
        .int(&["datconnlimit"], -1)
        .int(&["dattablespace"], 0)
}

fn role(name: &'static str) -> Rows {
    Rows::new(1)
        .int(&["oid", "usesysid"], OWNER_ID)
        .text(&[name], OWNER)
        .bools(
            &["rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls"],
            false,
        )
        .bools(&["usesuper", "usecreatedb"], false)
        .bools(&["rolinherit", "rolcanlogin"], true)
        .int(&["rolconnlimit"], -1)
        .nulls(&["rolvaliduntil"])
        .no_arrays(&["rolconfig"])
}

fn classes(known: &[Known]) -> Rows {
    let count = |table: &Known| i64::try_from(table.fields.len()).unwrap_or(i64::MAX);
    Rows::new(known.len())
        .ints("oid", known.iter().map(|table| table.oid))
        .texts("relname", known.iter().map(|table| table.name.as_str()))
        .texts("relkind", known.iter().map(|table| if table.is_view { "v" } else { "r" }))
        .ints("relnatts", known.iter().map(count))
        .int(&["relnamespace"], PUBLIC)
        .int(&["relowner"], OWNER_ID)
        .int(&["relam"], HEAP)
        .int(
            &["reltype", "reloftype", "reltablespace", "reltoastrelid", "relchecks", "relpages"],
            0,
        )
        .int(&["relfilenode", "relallvisible"], 0)
        .int(&["reltuples"], -1)
        .bools(&["relhasindex", "relhasrules", "relhastriggers", "relrowsecurity"], false)
        .bools(&["relforcerowsecurity", "relispartition", "relisshared", "relhassubclass"], false)
        .bools(&["relhasoids"], false)
        .text(&["relpersistence"], "p")
        .text(&["relreplident"], "d")
        .nulls(&["relpartbound"])
        .no_arrays(&["relacl", "reloptions"])
}

/// Every column with the number of its table and its place, from one on.
fn columns(known: &[Known]) -> impl Iterator<Item = (&Known, i64, &str, Type)> + Clone {
    known.iter().flat_map(|table| {
        let fields = (1_i64..).zip(&table.fields);
        fields.map(move |(at, field)| (table, at, field.name().as_str(), Type::of_field(field)))
    })
}

fn attributes(known: &[Known]) -> Rows {
    let all = columns(known);
    Rows::new(all.clone().count())
        .ints("attrelid", all.clone().map(|(table, ..)| table.oid))
        .ints("attnum", all.clone().map(|(_, at, ..)| at))
        .texts("attname", all.clone().map(|(_, _, name, _)| name))
        .ints("atttypid", all.clone().map(|(.., of)| of.oid()))
        .ints("attlen", all.clone().map(|(.., of)| of.bytes()))
        .ints("attndims", all.map(|(.., of)| i64::from(of.is_array)))
        .int(&["atttypmod", "attstattarget"], -1)
        .int(&["attcollation", "attinhcount"], 0)
        .bools(&["attnotnull", "atthasdef", "attisdropped", "atthasmissing"], false)
        .bools(&["attislocal"], true)
        .text(&["attidentity", "attgenerated", "attcompression"], "")
        .text(&["attstorage"], "p")
        .no_arrays(&["attacl", "attoptions", "attfdwoptions"])
}

/// Every kind, and arrays of each.
fn types() -> Rows {
    let both = |scalar: fn(&Facts) -> i64, array: fn(&Facts) -> i64| {
        KINDS.iter().map(scalar).chain(KINDS.iter().map(array)).collect::<Vec<i64>>()
    };
    let names = |prefix: &'static str, suffix: &'static str| {
        let scalars = KINDS.iter().map(move |facts| format!("{}{suffix}", facts.name));
        scalars.chain(KINDS.iter().map(move |facts| format!("{prefix}{}{suffix}", facts.name)))
    };
    let category = KINDS.iter().map(|facts| facts.category).chain(KINDS.iter().map(|_| "A"));
    let read = KINDS.iter().map(|facts| format!("{}in", facts.name));
    Rows::new(2 * KINDS.len())
        .ints("oid", both(|facts| facts.oid.into(), |facts| facts.array_oid.into()))
        .texts("typname", names("_", ""))
        .ints("typlen", both(|facts| facts.bytes.into(), |_| -1))
        .ints("typelem", both(|_| 0, |facts| facts.oid.into()))
        .ints("typarray", both(|facts| facts.array_oid.into(), |_| 0))
        .texts("typcategory", category)
        .texts("typinput", read.chain(KINDS.iter().map(|_| "array_in".to_owned())))
        .int(&["typnamespace"], OF_POSTGRES)
        .int(&["typowner"], OWNER_ID)
        .int(&["typrelid", "typbasetype", "typcollation", "typndims"], 0)
        .int(&["typtypmod"], -1)
        .bools(&["typnotnull", "typbyval"], false)
        .bools(&["typisdefined"], true)
        .text(&["typtype"], "b")
        .text(&["typdelim"], ",")
        .nulls(&["typdefault"])
        .no_arrays(&["typacl"])
}

/// Those of `information_schema`.
pub(super) fn information(known: &[Known]) -> Vec<(&'static str, Rows)> {
    let views: Vec<&Known> = known.iter().filter(|table| table.is_view).collect();
    let kind = |table: &Known| if table.is_view { "VIEW" } else { "BASE TABLE" };
    vec![
        (
            "tables",
            Rows::new(known.len())
                .text(&["table_catalog"], DATABASE)
                .text(&["table_schema"], "public")
                .texts("table_name", known.iter().map(|table| table.name.as_str()))
                .texts("table_type", known.iter().map(kind))
                .text(&["is_insertable_into"], "NO"),
        ),
        ("columns", information_columns(known)),
        (
            "schemata",
            Rows::new(3)
                .text(&["catalog_name"], DATABASE)
                .texts("schema_name", ["public", PG_CATALOG, "information_schema"])
                .text(&["schema_owner"], OWNER),
        ),
        (
            "views",
            Rows::new(views.len())
                .text(&["table_catalog"], DATABASE)
                .text(&["table_schema"], "public")
                .texts("table_name", views.iter().map(|table| table.name.as_str()))
                .nulls(&["view_definition"]),
        ),
    ]
}

fn information_columns(known: &[Known]) -> Rows {
    let all = columns(known);
    let of_standard = |of: Type| if of.is_array { "ARRAY".to_owned() } else { of.sql_name() };
    let own = |of: Type| format!("{}{}", if of.is_array { "_" } else { "" }, of.kind.facts().name);
    Rows::new(all.clone().count())
        .text(&["table_catalog", "udt_catalog"], DATABASE)
        .text(&["table_schema"], "public")
        .texts("table_name", all.clone().map(|(table, ..)| table.name.as_str()))
        .texts("column_name", all.clone().map(|(_, _, name, _)| name))
        .ints("ordinal_position", all.clone().map(|(_, at, ..)| at))
        .texts("data_type", all.clone().map(|(.., of)| of_standard(of)))
        .text(&["udt_schema"], PG_CATALOG)
        .texts("udt_name", all.map(|(.., of)| own(of)))
        .nulls(&["column_default", "character_set_name", "collation_name", "domain_name"])
        .no_ints(&["character_maximum_length", "numeric_precision", "numeric_scale"])
        .no_ints(&["datetime_precision"])
        .text(&["is_nullable"], "YES")
        .text(&["is_updatable", "is_identity"], "NO")
        .text(&["is_generated"], "NEVER")
}
