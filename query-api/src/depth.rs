//! How deep the tree of a statement can become, told from its tokens.
//!
//! Invariant: no text comes to a parser whose tree is deeper than whoever works on it has stack for.
//! Parsers bound how deep brackets are, but `1+1+1+…` is as deep as it is long, and whoever plans,
//! clones or drops such a tree needs stack for each level. The measure is never less than the depth;
//! lists are not deep.

mod weight;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

pub(crate) use self::weight::weigh;
use crate::Error;

/// Levels that a statement may have: the threads that run queries have stack for them.
pub(crate) const STATEMENT_MAX: usize = 1000;

/// Levels that a condition may have: any thread may look at rows by it.
pub(crate) const CONDITION_MAX: usize = 200;

/// Why a statement is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the SQL is {depth} levels deep, at most {max} are read: each operator behind another is one"
)]
pub(crate) struct TooDeep {
    depth: usize,
    max: usize,
}

impl TooDeep {
    /// What to write in its place.
    pub(crate) const HINT: &str = "put brackets around parts of a long chain of operators, or write \
        `x IN (…)` for `x = … OR x = …`: a list may be long";
}

impl From<TooDeep> for Error {
    fn from(deep: TooDeep) -> Self {
        Self::Sql { message: deep.to_string(), hint: Some(TooDeep::HINT.to_owned()), at: None }
    }
}

/// Refuses a text that has more levels, read in this dialect.
pub(crate) fn check(sql: &str, dialect: &dyn Dialect, max: usize) -> Result<(), TooDeep> {
    // Where there are no tokens, nothing is parsed.
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize() else { return Ok(()) };
    let depth = depth(&tokens);
    if depth > max { Err(TooDeep { depth, max }) } else { Ok(()) }
}

/// What stands between two brackets.
#[derive(Debug, Default)]
struct Inside {
    /// Operators since the last comma, and the deepest brackets among them.
    operators: usize,
    brackets: usize,
    /// The deepest between two commas so far.
    deepest: usize,
    /// Queries and tables that are joined to those before them, commas or not.
    joined: usize,
    /// Whether a comma stands between tables.
    of_tables: bool,
}

impl Inside {
    fn comma(&mut self) {
        self.joined += usize::from(self.of_tables);
        self.deepest = self.depth_here();
        (self.operators, self.brackets) = (0, 0);
    }

    fn depth_here(&self) -> usize {
        self.deepest.max(self.operators + self.brackets)
    }

    fn depth(&self) -> usize {
        1 + self.joined + self.depth_here()
    }

    fn word(&mut self, word: Keyword) {
        match word {
            Keyword::FROM => self.of_tables = true,
            Keyword::WHERE | Keyword::GROUP | Keyword::ORDER | Keyword::SELECT => {
                self.of_tables = false;
            }
            _ if JOINS.contains(&word) => self.joined += 1,
            _ if OPERATORS.contains(&word) => self.operators += 1,
            _ => {}
        }
    }
}

fn depth(tokens: &[Token]) -> usize {
    let (mut outer, mut here) = (Vec::new(), Inside::default());
    for token in tokens {
        match token {
            Token::Whitespace(_) | Token::Period | Token::Number(..) | Token::Placeholder(_) => {}
            Token::Word(word) => here.word(word.keyword),
            Token::LParen | Token::LBracket | Token::LBrace => {
                // Types of arrays are as deep as they have brackets: `int[][][]`.
                here.operators += usize::from(*token == Token::LBracket);
                outer.push(std::mem::take(&mut here));
            }
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut outer, &mut here),
            Token::Comma => here.comma(),
            Token::SemiColon => {
                here.deepest = here.depth();
                here = Inside { deepest: here.deepest, ..Inside::default() };
            }
            token if is_text(token) => {}
            _ => here.operators += 1,
        }
    }
    // What nobody closes is as deep as it is: parsers notice late.
    while !outer.is_empty() {
        close(&mut outer, &mut here);
    }
    here.depth()
}

fn close(outer: &mut Vec<Inside>, here: &mut Inside) {
    let inner = here.depth();
    if let Some(outer) = outer.pop() {
        *here = outer;
        here.brackets = here.brackets.max(inner);
    }
}

const fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::EOF
    )
}

/// Words that make one tree of two queries or tables, or of the statement behind them.
const JOINS: [Keyword; 11] = [
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::MINUS,
    Keyword::JOIN,
    Keyword::APPLY,
    Keyword::PIVOT,
    Keyword::UNPIVOT,
    Keyword::MATCH_RECOGNIZE,
    Keyword::EXPLAIN,
    Keyword::DESCRIBE,
];

/// Words that stand between, before or behind expressions and make one of them.
const OPERATORS: [Keyword; 24] = [
    Keyword::AND,
    Keyword::OR,
    Keyword::XOR,
    Keyword::NOT,
    Keyword::IS,
    Keyword::IN,
    Keyword::BETWEEN,
    Keyword::OVERLAPS,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::RLIKE,
    Keyword::REGEXP,
    Keyword::MATCH,
    Keyword::SIMILAR,
    Keyword::MEMBER,
    Keyword::OPERATOR,
    Keyword::DIV,
    Keyword::COLLATE,
    Keyword::AT,
    Keyword::NOTNULL,
    Keyword::PRIOR,
    Keyword::INTERVAL,
    Keyword::ARRAY,
    Keyword::CASE,
];

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn depth_of(sql: &str) -> usize {
        depth(&Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap())
    }

    /// Scenario: chains of operators, of queries and of tables, bare, between commas, in brackets, and in
    /// brackets that nobody closes; long lists.
    /// Guarantees: chains are as deep as they are long, wherever their links stand; lists are not.
    #[test]
    fn chains_are_deep_and_lists_are_not() {
        let chain = |link: &str| format!("SELECT 1{}", link.repeat(500));
        let links = [
            "+1",
            " OR true",
            " AND 1=1",
            " IS NULL",
            "::int",
            " UNION SELECT 1, 2",
            "||'a'",
            " COLLATE c",
            " BETWEEN 1 AND 2",
            " AT TIME ZONE 'x'",
            " -- no comment\n+1",
        ];
        for link in links {
            let chain = chain(link);
            for sql in [chain.clone(), format!("SELECT a, ({chain}), b"), format!("((1, {chain}")] {
                assert!((500..2_010).contains(&depth_of(&sql)), "{link}: {}", depth_of(&sql));
            }
        }
        let brackets = |inner: &str| format!("({inner}{})", "+1".repeat(100));
        let deep = (0..10).fold("1".to_owned(), |inner, _| brackets(&inner));
        assert!(depth_of(&deep) >= 1000);
        assert!(depth_of(&format!("SELECT 1 FROM t{}", ", t".repeat(500))) >= 500);
        assert!(depth_of(&format!("CAST(a AS int{})", "[]".repeat(500))) >= 500);
        for list in [
            format!("SELECT * FROM t WHERE a IN (1{}) AND b > 2", ", -1".repeat(10_000)),
            format!("VALUES (1, 'a'){}", ", (2 * 3, 'b + c')".repeat(10_000)),
            format!("SELECT [1{}], (a + b) / 2{}", ", 2".repeat(10_000), ", c + 1".repeat(1_000)),
            format!("SELECT '{}'", "+1".repeat(10_000)),
        ] {
            assert!(depth_of(&list) < 10, "{}", depth_of(&list));
        }
    }
}
