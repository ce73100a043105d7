//! The steps of the simple and of the extended protocol.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;

use super::super::dialect::cast_places;
use super::super::fault::{fault, of_error};
use super::super::param::value;
use super::super::portal::{Running, form, heads};
use super::super::statement::{Planned, Step, plan, text};
use super::super::types::{Kind, Type};
use super::super::wire::{ColumnHead, Reader};
use super::{Done, Failed, Portal, Prepared, SENT_BYTES, Session, State, Values, gone, told};
use crate::engine::Question;
use crate::expand::{PLACES_MAX, Params, Uses, places};
use crate::running::Caller;
use crate::{Error, ErrorKind};

/// Rows that are written between two looks at how much has been gathered.
const ROWS_WRITTEN_MAX: usize = 1024;
/// What may stand for texts that are yet to come, where a query cannot be planned without: a
/// trace's id, and a time. For numbers stands one.
const STAND_INS: [&str; 2] = ["00000000000000000000000000000001", "2000-01-01T00:00:00Z"];

/// Places for which a text is tried, one at a time, where a statement cannot be planned without.
const PLACES_TRIED_MAX: usize = 8;

/// An error of a query, told of its text where that is what the client wrote.
fn failed(error: &Error, planned: &Planned) -> Failed {
    let written = match planned {
        Planned::Query { sql, as_written: true } => Some(sql.as_str()),
        _ => None,
    };
    Failed::Told(of_error(error, written))
}

impl Session<'_> {
    /// Statements without values, whose rows are texts.
    pub(super) async fn simple(&mut self, sql: &str) -> Done {
        for planned in plan(sql) {
            let mut portal = self.started(Portal::without_values(Arc::new(planned))).await?;
            if let Some(heads) = heads_of(&portal) {
                self.out.columns(&heads);
            }
            self.write_rows(&mut portal, usize::MAX).await?;
            if self.out.len() >= SENT_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    pub(super) fn parse(&mut self, body: &mut Reader) -> Done {
        let (name, sql) = (body.text()?, body.text()?);
        let oids = body.list(Reader::u32)?;
        let mut all = plan(&sql);
        let planned = all.pop().unwrap_or(Planned::Empty);
        if !all.is_empty() {
            return told("42601", "one statement is prepared at a time".to_owned());
        }
        if oids.len() > PLACES_MAX {
            let text = format!("{} types were said of at most {PLACES_MAX} values", oids.len());
            return told("54000", text);
        }
        let mut types = Vec::new();
        for oid in oids {
            let of = Type::of_oid(oid);
            // 705 is a text that is of any type.
            if of.is_none() && !matches!(oid, 0 | 705) {
                return told("42704", format!("a value of the type {oid} is not understood"));
            }
            types.push(of);
        }
        types.resize(types.len().max(places(&sql)), None);
        let casts = cast_places(&sql);
        for (at, of) in types.iter_mut().enumerate() {
            *of = of.or_else(|| casts.get(&format!("${}", at + 1)).copied());
        }
        let bytes = planned.bytes() + size_of_val(&types[..]) + size_of::<Prepared>();
        let prepared = Prepared { planned: Arc::new(planned), types, looked: false };
        let kept = self.prepared.put(name, bytes, prepared);
        kept.or_else(|full| told("54000", format!("prepared statements: {full}")))?;
        self.out.plain(b'1');
        Ok(())
    }

    pub(super) async fn bind(&mut self, body: &mut Reader) -> Done {
        let (portal, name) = (body.text()?, body.text()?);
        let is_binary = |body: &mut Reader| Ok(body.u16()? == 1);
        let message_bytes = body.0.len();
        let value_forms = body.list(is_binary)?;
        let values = body.list(Reader::value)?;
        let forms = body.list(is_binary)?;
        let Prepared { planned, types, .. } = self.prepared_as(&name).await?;
        if values.len() != types.len() {
            let (given, wanted) = (values.len(), types.len());
            let text = format!("{given} values were given to a statement that takes {wanted}");
            return told("08P01", text);
        }
        let values = Values { types, forms: value_forms, values };
        // What is wrong with a value is told now; what is made of it is made when it is asked.
        values.params()?;
        let bytes = message_bytes + size_of_val(&values.values[..]) + size_of::<Portal>();
        self.keep(portal, Portal { planned, values, forms, bytes, running: None })?;
        self.out.plain(b'2');
        Ok(())
    }

    /// A prepared statement, the types of its values looked for where they were not said.
    async fn prepared_as(&mut self, name: &str) -> Done<Prepared> {
        let Some(prepared) = self.prepared.get_mut(name) else {
            return told("26000", format!("no statement `{name}` is prepared"));
        };
        let mut prepared = prepared.clone();
        if prepared.looked || !prepared.types.contains(&None) {
            return Ok(prepared);
        }
        if let Planned::Query { sql, .. } = &*prepared.planned {
            let found = self.types_of(sql, prepared.types.len()).await;
            let found = found.map_err(|error| failed(&error, &prepared.planned))?;
            let Uses { arrays, counts } = Uses::of(sql);
            for (at, of) in prepared.types.iter_mut().enumerate() {
                let name = format!("${}", at + 1);
                let known = found.get(&name).and_then(Option::as_ref);
                let is_array = arrays.contains(&name);
                let found = match known.map(Type::of) {
                    _ if counts.contains(&name) => Some(Type::one(Kind::Int8)),
                    Some(Type { kind, .. }) if is_array => Some(Type { kind, is_array }),
                    found => found,
                };
                *of = of.or(found);
            }
        }
        prepared.looked = true;
        if let Some(kept) = self.prepared.get_mut(name) {
            kept.clone_from(&prepared);
        }
        Ok(prepared)
    }

    /// The types that a statement gives its values. What cannot be planned without one of them takes
    /// a text there; so does what is wrong, or what the planner fails at, which is told where it is run.
    ///
    /// # Errors
    /// Where it could not be tried, as when too much is asked at this moment.
    async fn types_of(
        &mut self,
        sql: &str,
        places: usize,
    ) -> Result<HashMap<String, Option<DataType>>, Error> {
        let one = |at| STAND_INS.map(|text| Some((at, text)));
        let tries = (1..=places.min(PLACES_TRIED_MAX)).flat_map(one);
        for given in std::iter::once(None).chain(tries) {
            let mut params = Params::open();
            if let Some((at, stand_in)) = given {
                params.put(&at.to_string(), text(stand_in));
            }
            let (sql, caller) = (sql.to_owned(), self.asks());
            let question = Question { sql, params };
            let types = self.service.answers.parameter_types(question, &caller).await;
            match types {
                Err(error) if may_fit(&error) => {}
                tried => return tried,
            }
        }
        Ok(HashMap::new())
    }

    /// Tells of a statement or portal what it takes and answers.
    pub(super) async fn describe(&mut self, body: &mut Reader) -> Done {
        let (kind, name) = (body.u8()?, body.text()?);
        if kind == b'S' {
            let Prepared { planned, types, .. } = self.prepared_as(&name).await?;
            let types: Vec<Type> =
                types.into_iter().map(|of| of.unwrap_or(Type::one(Kind::Text))).collect();
            self.out.parameters(&types);
            let columns = match &*planned {
                Planned::Query { sql, .. } => {
                    let schema = self.schema(sql, &types).await;
                    Some(heads(&*schema.map_err(|error| failed(&error, &planned))?, &[]))
                }
                _ => heads_of(&Portal::without_values(planned)),
            };
            self.tell_columns(columns.as_deref());
            return Ok(());
        }
        let portal = self.portal_as(&name)?;
        let portal = self.started(portal).await?;
        self.tell_columns(heads_of(&portal).as_deref());
        self.keep(name, portal)
    }

    /// The columns of what a statement would answer, whose values are yet to come.
    async fn schema(&mut self, sql: &str, types: &[Type]) -> Result<SchemaRef, Error> {
        let mut answer = self.describe_with(sql, types, None).await;
        for stand_in in STAND_INS {
            if !answer.as_ref().is_err_and(may_fit) || types.is_empty() {
                break;
            }
            answer = self.describe_with(sql, types, Some(stand_in)).await.or(answer);
        }
        answer
    }

    async fn describe_with(
        &mut self,
        sql: &str,
        types: &[Type],
        stand_in: Option<&'static str>,
    ) -> Result<SchemaRef, Error> {
        let mut params = Params::default();
        for (at, of) in types.iter().enumerate() {
            let stands = match (stand_in, of.kind) {
                (Some(stand_in), Kind::Text) => Some(stand_in),
                (Some(_), Kind::Int2 | Kind::Int4 | Kind::Int8) => Some("1"),
                _ => None,
            };
            let stands =
                stands.filter(|_| !of.is_array).map(|text| Bytes::from_static(text.as_bytes()));
            let value = value(*of, false, stands.as_ref());
            let value = value.map_err(|why| Error::Request(format!("${}: {why}", at + 1)))?;
            params.put(&(at + 1).to_string(), value);
        }
        let caller = self.asks();
        let question = Question { sql: sql.to_owned(), params };
        self.service.answers.describe(question, &caller).await
    }

    fn tell_columns(&mut self, columns: Option<&[ColumnHead]>) {
        match columns {
            Some(columns) => self.out.columns(columns),
            None => self.out.plain(b'n'),
        }
    }

    fn portal_as(&mut self, name: &str) -> Done<Portal> {
        let missing = || told("34000", format!("no portal `{name}` is open"));
        self.portals.take(name).map_or_else(missing, Ok)
    }

    fn keep(&mut self, name: String, portal: Portal) -> Done {
        let kept = self.portals.put(name, portal.bytes, portal);
        kept.or_else(|full| told("54000", format!("portals: {full}")))
    }

    pub(super) async fn execute(&mut self, body: &mut Reader) -> Done {
        let (name, most) = (body.text()?, body.u32()?);
        let most = if most == 0 { usize::MAX } else { most as usize };
        let portal = self.portal_as(&name)?;
        let mut portal = self.started(portal).await?;
        if self.write_rows(&mut portal, most).await? {
            self.keep(name, portal)?;
        }
        Ok(())
    }

    /// Who asks the next question, under an id by which it can be ended.
    fn asks(&mut self) -> Caller {
        let (asked, process) = (&mut self.asked, self.process);
        let id = self.service.answers.queries.free(|| {
            *asked += 1;
            format!("pg-{process}-{asked}")
        });
        self.service.asks(self.process, &id);
        Caller { id: Some(id), ..self.caller.clone() }
    }

    /// The portal, its query asked if it is one and was not.
    async fn started(&mut self, mut portal: Portal) -> Done<Portal> {
        let mends = matches!(&*portal.planned, Planned::Transaction(step) if step.mends());
        if self.state == State::Broken && !mends {
            let text = "the transaction failed: nothing is done until it ends".to_owned();
            return told("25P02", text);
        }
        let Planned::Query { sql, .. } = &*portal.planned else { return Ok(portal) };
        if portal.running.is_some() {
            return Ok(portal);
        }
        let params = std::mem::take(&mut portal.values).params()?;
        let question = Question { sql: sql.clone(), params };
        let caller = self.asks();
        let running = tokio::select! {
            running = Running::start(&self.service.answers, question, &caller) => running,
            gone = gone(&self.stream) => return Err(Failed::Broken(gone)),
        };
        let running = running.map_err(|error| failed(&error, &portal.planned))?;
        if !running.incomplete().is_empty() {
            let text = format!("the answer is incomplete: {}", running.incomplete().join("; "));
            self.out.notice(&fault("01000", text));
        }
        portal.running = Some(running);
        Ok(portal)
    }

    /// Writes what a statement answers, at most `most` rows; true where there may be more.
    async fn write_rows(&mut self, portal: &mut Portal, most: usize) -> Done<bool> {
        match &*portal.planned {
            Planned::Empty => self.out.plain(b'I'),
            Planned::Done { tag, notice } => {
                if let Some(notice) = notice {
                    self.out.notice(&fault("01000", notice.clone()));
                }
                self.out.complete(tag);
            }
            Planned::Transaction(step) => self.transact(*step),
            Planned::Forget(name) => {
                match name {
                    Some(name) => drop(self.prepared.take(name)),
                    None => self.prepared.clear(),
                }
                self.out.complete("DEALLOCATE");
            }
            Planned::Texts { rows, .. } => {
                rows.iter().for_each(|row| self.out.texts(row));
                self.out.complete(&format!("SELECT {}", rows.len()));
            }
            Planned::Query { .. } => return self.write_query(portal, most).await,
        }
        Ok(false)
    }

    fn transact(&mut self, step: Step) {
        let failed = self.state == State::Broken && step == Step::Commit;
        self.state = match step {
            Step::Begin | Step::RollbackTo => State::Open,
            Step::Commit | Step::Rollback => State::Idle,
            Step::Savepoint | Step::Release => self.state,
        };
        self.out.complete(if failed { Step::Rollback.tag() } else { step.tag() });
    }

    async fn write_query(&mut self, portal: &mut Portal, most: usize) -> Done<bool> {
        let Some(running) = &mut portal.running else { return Ok(false) };
        let end = running.rows.saturating_add(most);
        loop {
            let left = end - running.rows;
            if left == 0 {
                self.out.plain(b's');
                return Ok(true);
            }
            let more = tokio::select! {
                more = running.write(&mut self.out, &portal.forms, left.min(ROWS_WRITTEN_MAX)) => more,
                gone = gone(&self.stream) => return Err(Failed::Broken(gone)),
            };
            if !more.map_err(|error| failed(&error, &portal.planned))? {
                self.out.complete(&format!("SELECT {}", running.rows));
                return Ok(false);
            }
            if self.out.len() >= SENT_BYTES {
                self.flush().await?;
            }
        }
    }
}

impl Portal {
    fn without_values(planned: Arc<Planned>) -> Self {
        let (values, forms) = (Values::default(), Vec::new());
        Self { planned, values, forms, bytes: 0, running: None }
    }
}

impl Values {
    /// As a query takes them.
    fn params(&self) -> Done<Params> {
        let mut params = Params::default();
        for (at, (bytes, of)) in self.values.iter().zip(&self.types).enumerate() {
            let of = of.unwrap_or(Type::one(Kind::Text));
            let wrong = |why| Failed::Told(fault("22P02", format!("${}: {why}", at + 1)));
            let value = value(of, form(&self.forms, at), bytes.as_ref()).map_err(wrong)?;
            params.put(&(at + 1).to_string(), value);
        }
        Ok(params)
    }
}

/// The columns of what a statement answers; none where it has no rows.
fn heads_of(portal: &Portal) -> Option<Vec<ColumnHead>> {
    match &*portal.planned {
        Planned::Texts { columns, .. } => {
            let head = |(at, name): (usize, &String)| ColumnHead {
                name: name.clone(),
                of: Type::one(Kind::Text),
                binary: form(&portal.forms, at),
            };
            Some(columns.iter().enumerate().map(head).collect())
        }
        _ => portal.running.as_ref().map(|running| running.heads(&portal.forms)),
    }
}

/// Whether a statement that failed may do with other values in its places. What is refused is refused with any,
/// and what is of this moment or this caller would be met again.
fn may_fit(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Internal => true,
        ErrorKind::Refused
        | ErrorKind::Busy
        | ErrorKind::MemoryLimit
        | ErrorKind::TimeLimit
        | ErrorKind::SpillLimit
        | ErrorKind::SpillFull
        | ErrorKind::ScanLimit
        | ErrorKind::RowLimit
        | ErrorKind::Cancelled
        | ErrorKind::Unavailable => false,
    }
}
