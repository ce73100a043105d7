//! Statements as people write them.

use super::*;

fn read(sent: &str, dialect: Dialect) -> (String, String) {
    let Statement { text, operation, collection, summary } =
        statement(sent.as_bytes(), false, dialect, false);
    let shown = |one: Option<String>| one.unwrap_or_else(|| "-".to_owned());
    (text, format!("{} | {} | {}", shown(operation), shown(collection), shown(summary)))
}

fn check(sent: &str, text: &str, told: &str) {
    assert_eq!(read(sent, Dialect::Postgres), (text.to_owned(), told.to_owned()));
}

fn check_mysql(sent: &str, text: &str, told: &str) {
    assert_eq!(read(sent, Dialect::MySql), (text.to_owned(), told.to_owned()));
}

/// Scenario: literals of every form that PostgreSQL has, parameters, names with digits, comments.
/// Guarantees: no value is left, everything else is as it was.
#[test]
fn values_of_postgres() {
    check(
        "select 'a''b', 1, -2.5e+3, $1, t1.c2 from t1",
        "select ?, ?, -?, $1, t1.c2 from t1",
        "SELECT | t1 | SELECT t1",
    );
    check(r"SELECT E'it\'s', 'back\', x FROM t", "SELECT ?, ?, x FROM t", "SELECT | t | SELECT t");
    check(
        "SELECT $$body 'x'$$, $a$ $$ $a$, 0xff, .5 FROM t",
        "SELECT ?, ?, ?, ? FROM t",
        "SELECT | t | SELECT t",
    );
    check("/* who */ SELECT 1 -- 'secret'\n + 2", "SELECT ?  \n + ?", "SELECT | - | SELECT");
    check("SELECT 'never ends", "SELECT ?", "SELECT | - | SELECT");
    check("SELECT $tag", "SELECT ?", "SELECT | - | SELECT");
    check("", "", "- | - | -");
}

/// Scenario: the same of MySQL: double quotes, backslashes, backticks, other comments, and those whose inside is run.
/// Guarantees: the same.
#[test]
fn values_of_mysql() {
    check_mysql(
        r#"SELECT "a\"b", 'c\'d', `e``f` FROM `g` # "x""#,
        r"SELECT ?, ?, `e``f` FROM `g`",
        "SELECT | g | SELECT g",
    );
    check_mysql(
        "INSERT INTO a.`b` VALUES (1, x'ff', N'u')",
        "INSERT INTO a.`b` VALUES (?, ?, ?)",
        "INSERT | a.b | INSERT a.b",
    );
    check_mysql("/*!40101 SET SQL_MODE='a' */", "SET SQL_MODE=?", "SET | - | SET");
    check_mysql(
        "/*!40000 ALTER TABLE `t` /* 'why' */ DISABLE KEYS */; /*M!100616 SELECT */ 'x' */",
        "ALTER TABLE `t`   DISABLE KEYS  ;   SELECT   ? */",
        "ALTER | - | ALTER TABLE t; SELECT",
    );
    check_mysql(
        "SELECT /*! SQL_NO_CACHE 'never ends",
        "SELECT   SQL_NO_CACHE ?",
        "SELECT | - | SELECT",
    );
    check_mysql("/* SELECT 1 */ /*+ hint */", "", "- | - | -");
    // A server that is too old does not run what stands there, and goes on behind it.
    check_mysql("/*!99999 it's */ SELECT 'secret'", "it?", "- | - | -");
    check_mysql("SELECT /*!99999 -- it's */ 'secret'", "SELECT   ?", "SELECT | - | SELECT");
    check_mysql("/*!99999 # */ SELECT 'secret\n'", "?", "- | - | -");
}

/// Scenario: tables after every keyword, several of them, functions, subqueries, aliases.
/// Guarantees: a collection is told where there is one, a summary where the operation is known.
#[test]
fn what_is_done_to_what() {
    for (sent, told) in [
        ("SELECT * FROM a JOIN b ON a.x = b.x", "SELECT | - | SELECT a b"),
        ("SELECT * FROM a x, s.b AS y WHERE 1 = 2", "SELECT | - | SELECT a s.b"),
        ("select * from a where id in (select id from b)", "SELECT | - | SELECT a b"),
        ("SELECT extract(year FROM t) FROM \"Big T\" FOR UPDATE", "SELECT | Big T | SELECT Big T"),
        ("SELECT * FROM generate_series(1, 2)", "SELECT | - | SELECT"),
        ("SELECT a IS DISTINCT FROM b FROM c", "SELECT | c | SELECT c"),
        ("INSERT INTO a (b) VALUES ($1) ON CONFLICT DO UPDATE SET b = 1", "INSERT | a | INSERT a"),
        ("insert into a select * from b", "INSERT | - | INSERT a b"),
        ("UPDATE a SET b = 1 WHERE c = 2", "UPDATE | a | UPDATE a"),
        ("DELETE FROM ONLY a", "DELETE | a | DELETE a"),
        ("WITH x AS (SELECT 1 FROM y) DELETE FROM z USING x", "DELETE | - | DELETE"),
        ("CREATE TABLE IF NOT EXISTS a (b int)", "CREATE | a | CREATE TABLE a"),
        ("CREATE UNIQUE INDEX i ON a (b)", "CREATE | - | CREATE INDEX"),
        ("DROP TABLE a", "DROP | a | DROP TABLE a"),
        ("COPY a (b) FROM STDIN", "COPY | a | COPY a"),
        ("BEGIN; SELECT 1 FROM a; COMMIT", "BEGIN | - | BEGIN; SELECT a; COMMIT"),
        ("(SELECT 1 FROM a) UNION (SELECT 2 FROM a)", "SELECT | a | SELECT a"),
        ("frobnicate the table", "- | - | -"),
    ] {
        assert_eq!(read(sent, Dialect::Postgres).1, told, "{sent}");
    }
}

proptest::proptest! {
    /// Scenario: parts of statements with a secret in each literal, put together and cut anywhere.
    /// Guarantees: no panic, and the secret is in neither text nor summary.
    #[test]
    fn secrets_do_not_leave(
        parts in proptest::collection::vec(
            "SELECT |FROM t|'s3cret'|E's3cret\\\\''|\\$a\\$s3cret\\$a\\$|/\\* x \\*/|, | = |\\(|\\)|\"n\"|--\n|é",
            0..12,
        ),
        cut in 0..200_usize,
    ) {
        let sent = parts.join(" ");
        let cut = sent.get(..cut).unwrap_or(&sent);
        let Statement { text, summary, .. } = statement(cut.as_bytes(), true, Dialect::Postgres, false);
        proptest::prop_assert!(!text.contains("s3c"), "{} of {}", text, cut);
        proptest::prop_assert!(!summary.unwrap_or_default().contains("s3c"));
    }
}

/// Scenario: literals of every form that CQL has, names in quotes, comments, keyspaces, batches as one text.
/// Guarantees: no value is left, also of one that was cut off; operations and tables are told.
#[test]
fn values_of_cql() {
    let check = |sent: &str, text: &str, told: &str| {
        assert_eq!(read(sent, Dialect::Cql), (text.to_owned(), told.to_owned()));
    };
    check(
        r#"SELECT "Name", p1, p2d FROM shop."Users" WHERE id = e2b9f2aa-1111-4222-8333-c0ffee000001 ALLOW FILTERING"#,
        r#"SELECT "Name", p1, ? FROM shop."Users" WHERE id = ? ALLOW FILTERING"#,
        "SELECT | shop.Users | SELECT shop.Users",
    );
    check(
        "INSERT INTO t (a, b, c) VALUES (1b2c3d4e-0000-1111-2222-333344445555, 'it''s \\', 0xcafe) USING TTL 60 // 'x'",
        "INSERT INTO t (a, b, c) VALUES (?, ?, ?) USING TTL ?",
        "INSERT | t | INSERT t",
    );
    check(
        "UPDATE t USING TIMESTAMP 5 SET m = {'a': 1}, d = P3Y6M, e = 89h4m48s, f = $$it's$$ WHERE k IN (1.5e-3, ?, :k)",
        "UPDATE t USING TIMESTAMP ? SET m = {?: ?}, d = ?, e = ?, f = ? WHERE k IN (?, ?, :k)",
        "UPDATE | t | UPDATE t",
    );
    check(
        "DELETE a FROM t WHERE b = deadbeef-12",
        "DELETE a FROM t WHERE b = ?",
        "DELETE | t | DELETE t",
    );
    check(
        "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy'}",
        "CREATE KEYSPACE shop WITH replication = {?: ?}",
        "CREATE | - | CREATE KEYSPACE",
    );
    check("LIST ROLES", "LIST ROLES", "LIST | - | LIST");
}
