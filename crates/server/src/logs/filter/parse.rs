//! From words to an expression.
//!
//! OR binds closer than AND, as in Google's filters, and words that just follow each other are joined by
//! AND: `a OR b c` is `(a OR b) AND c`.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use homerun_api::logging::Severity;
use regex::{Regex, RegexBuilder};

use super::eval::{Comparison, Expr, Operand, Test, Typed};
use super::field::{Field, Kind, duration};
use super::lex::{self, Op, Token, TokenKind};
use super::{FilterError, MAX_CHARS};

/// Deepest nesting of parentheses and NOTs: bounds the stack.
const MAX_DEPTH: usize = 64;
/// Most bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let length = text.chars().count();
    if length > MAX_CHARS {
        let message = format!("it has {length} characters; a filter may have {MAX_CHARS}");
        return Err(FilterError::at(MAX_CHARS, message));
    }
    let tokens = lex::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    if parser.peek().kind == TokenKind::End {
        return Ok(Expr::All(Vec::new()));
    }
    let expr = parser.all(&Parser::restriction)?;
    match parser.peek().kind {
        TokenKind::End => Ok(expr),
        _ => Err(parser.unexpected("a comparison such as severity>=ERROR")),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

/// Reads what stands between ANDs, ORs, NOTs and parentheses.
type Leaf<'f, 't> = &'f dyn Fn(&mut Parser<'t>) -> Result<Expr, FilterError>;

impl<'t> Parser<'t> {
    fn peek(&self) -> &'t Token {
        &self.tokens[self.at]
    }

    fn next(&mut self) -> &'t Token {
        let token = self.peek();
        // The last token is the end, which is never passed.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let there = self.peek().kind == *kind;
        if there {
            self.next();
        }
        there
    }

    fn unexpected(&self, wanted: &str) -> FilterError {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::End => "the filter ends".to_owned(),
            TokenKind::Open => "there is (".to_owned(),
            TokenKind::Close => "there is )".to_owned(),
            TokenKind::Comma => "there is a comma".to_owned(),
            TokenKind::Minus => "there is -".to_owned(),
            TokenKind::And => "there is AND".to_owned(),
            TokenKind::Or => "there is OR".to_owned(),
            TokenKind::Not => "there is NOT".to_owned(),
            TokenKind::Op(_) => "there is an operator".to_owned(),
            TokenKind::Text(text) | TokenKind::Quoted(text) => format!("there is \"{text}\""),
        };
        FilterError::at(token.start, format!("{found} where {wanted} should be"))
    }

    /// Groups joined by AND, said or not.
    fn all(&mut self, leaf: Leaf<'_, 't>) -> Result<Expr, FilterError> {
        let mut parts = vec![self.any(leaf)?];
        while self.take(&TokenKind::And) || self.begins_term() {
            parts.push(self.any(leaf)?);
        }
        Ok(one_or(parts, Expr::All))
    }

    fn begins_term(&self) -> bool {
        matches!(
            self.peek().kind,
            TokenKind::Open | TokenKind::Minus | TokenKind::Not | TokenKind::Text(_) | TokenKind::Quoted(_)
        )
    }

    /// Terms joined by OR.
    fn any(&mut self, leaf: Leaf<'_, 't>) -> Result<Expr, FilterError> {
        let mut parts = vec![self.term(leaf)?];
        while self.take(&TokenKind::Or) {
            parts.push(self.term(leaf)?);
        }
        Ok(one_or(parts, Expr::Any))
    }

    fn term(&mut self, leaf: Leaf<'_, 't>) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("it is nested deeper than {MAX_DEPTH} levels");
            return Err(FilterError::at(self.peek().start, message));
        }
        let term = if self.take(&TokenKind::Not) || self.take(&TokenKind::Minus) {
            Expr::Not(Box::new(self.term(leaf)?))
        } else if self.take(&TokenKind::Open) {
            let inner = self.all(leaf)?;
            if !self.take(&TokenKind::Close) {
                return Err(self.unexpected("a closing parenthesis"));
            }
            inner
        } else {
            leaf(self)?
        };
        self.depth -= 1;
        Ok(term)
    }

    /// `field OP value`, `log_id(...)`, or a text to look for everywhere.
    fn restriction(&mut self) -> Result<Expr, FilterError> {
        let token = self.peek();
        match &token.kind {
            TokenKind::Quoted(raw) => {
                self.next();
                if let TokenKind::Op(_) = self.peek().kind {
                    let message = "a field's name begins without quotes, for instance jsonPayload.\"a.b\"";
                    return Err(FilterError::at(token.start, message));
                }
                Ok(Expr::Contains(lex::unescape(raw).to_lowercase()))
            }
            TokenKind::Text(text) => {
                let before = self.at;
                let path = self.path();
                let (single, adjacent) = (self.at == before + 1, self.peek().start == token.end);
                match self.peek().kind {
                    TokenKind::Op(op) => {
                        let path = path.map_err(|message| FilterError::at(token.start, message))?;
                        self.comparison(&path, token.start, op)
                    }
                    TokenKind::Open if adjacent => self.function(text, token.start),
                    _ if single => Ok(Expr::Contains(text.to_lowercase())),
                    _ => Err(self.unexpected("an operator")),
                }
            }
            _ => Err(self.unexpected("a comparison such as severity>=ERROR")),
        }
    }

    /// The steps of a path: words with dots between, and quoted words right behind a dot.
    fn path(&mut self) -> Result<Vec<String>, &'static str> {
        let mut steps: Vec<String> = Vec::new();
        let mut end = self.peek().start;
        let mut after_dot = true;
        while self.peek().start == end {
            match &self.peek().kind {
                TokenKind::Text(text) if after_dot || text.starts_with('.') => {
                    let text = if after_dot { text } else { &text[1..] };
                    after_dot = text.ends_with('.');
                    steps.extend(text.strip_suffix('.').unwrap_or(text).split('.').map(str::to_owned));
                }
                TokenKind::Quoted(raw) if after_dot => {
                    after_dot = false;
                    steps.push(lex::unescape(raw));
                }
                _ => break,
            }
            end = self.next().end;
        }
        if after_dot || steps.iter().any(String::is_empty) {
            return Err("a field's name has a dot too many");
        }
        Ok(steps)
    }

    fn function(&mut self, name: &str, start: usize) -> Result<Expr, FilterError> {
        if name != "log_id" {
            let message = format!("there is no function {name}; homerun has log_id");
            return Err(FilterError::at(start, message));
        }
        self.next();
        let id = match &self.peek().kind {
            TokenKind::Text(text) => text.clone(),
            TokenKind::Quoted(raw) => lex::unescape(raw),
            _ => return Err(self.unexpected("the id of a log, for instance \"run.googleapis.com/stdout\",")),
        };
        self.next();
        if !self.take(&TokenKind::Close) {
            return Err(self.unexpected("a closing parenthesis"));
        }
        Ok(Expr::LogId(id.replace('/', "%2F")))
    }

    fn comparison(&mut self, path: &[String], start: usize, op: Op) -> Result<Expr, FilterError> {
        let field = Field::at(path).map_err(|message| FilterError::at(start, message))?;
        self.next();
        let leaf = |parser: &mut Self| parser.value(&field, op);
        if self.take(&TokenKind::Open) {
            // The value may be several, joined: field=(a OR b).
            let values = self.all(&leaf)?;
            return if self.take(&TokenKind::Close) {
                Ok(values)
            } else {
                Err(self.unexpected("a closing parenthesis"))
            };
        }
        leaf(self)
    }

    /// One value that a field is compared with.
    fn value(&mut self, field: &Field, op: Op) -> Result<Expr, FilterError> {
        let token = self.peek();
        let (text, quoted) = match &token.kind {
            TokenKind::Text(text) => (text.clone(), false),
            TokenKind::Quoted(raw) if matches!(op, Op::Matches | Op::MatchesNot) => (raw.replace("\\\"", "\""), true),
            TokenKind::Quoted(raw) => (lex::unescape(raw), true),
            _ => return Err(self.unexpected("a value")),
        };
        self.next();
        if let TokenKind::Op(_) = self.peek().kind {
            // timestamp>=2026-05-01T10:00:00Z, most likely.
            let message = "an operator follows a value; a value with any of =<>!:~ in it stands in quotes";
            return Err(FilterError::at(self.peek().start, message));
        }
        let test = test(field, op, text, quoted).map_err(|message| FilterError::at(token.start, message))?;
        Ok(Expr::Compare(Comparison { field: field.clone(), test }))
    }
}

/// One part as it is, several joined.
fn one_or(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn test(field: &Field, op: Op, text: String, quoted: bool) -> Result<Test, String> {
    if op == Op::Has && text == "*" && !quoted {
        return Ok(Test::Present);
    }
    let kind = match field {
        Field::Scalar(field) => Some(field.kind),
        _ => None,
    };
    if matches!(field, Field::Group(_)) && op != Op::Has {
        return Err("a field that consists of others has no value of its own; name one of them, or use `:`".to_owned());
    }
    if matches!(op, Op::Matches | Op::MatchesNot) {
        if !quoted {
            return Err("a regular expression stands in quotes".to_owned());
        }
        if kind.is_some_and(|kind| kind != Kind::Text) {
            return Err("regular expressions are for fields that hold text".to_owned());
        }
        return Ok(Test::Matches { regex: regex(&text)?, wanted: op == Op::Matches });
    }
    let typed = match kind {
        None | Some(Kind::Text) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Typed::Number),
        Some(kind) => Some(typed(kind, &text)?),
    };
    Ok(Test::Compare { op, operand: Operand { folded: text.to_lowercase(), text, typed } })
}

fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    // The error draws its message over several lines; the last says what is wrong.
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("the regular expression is wrong: {reason}")
    })
}

fn typed(kind: Kind, text: &str) -> Result<Typed, String> {
    match kind {
        Kind::Text => Err("a text has no other type".to_owned()),
        Kind::Time => time(text).map(Typed::Time).ok_or_else(|| {
            format!("\"{text}\" is no time; a time is written as \"2026-05-01T10:00:00Z\" or \"2026-05-01\"")
        }),
        Kind::Severity => text.parse::<Severity>().map(Typed::Severity).map_err(|error| error.to_string()),
        Kind::Integer => {
            text.parse().map(Typed::Integer).map_err(|_| format!("\"{text}\" is no whole number of 64 bits"))
        }
        Kind::Duration => duration(text)
            .map(Typed::Duration)
            .ok_or_else(|| format!("\"{text}\" is no duration; a duration is written as \"1.5s\" or \"20ms\"")),
        Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Typed::Boolean(true)),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Typed::Boolean(false)),
        Kind::Boolean => Err(format!("\"{text}\" is neither true nor false")),
    }
}

/// A time with its offset, without one (UTC), or a day's begin in UTC.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let with_offset = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)).ok();
    with_offset
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc()))
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc()))
}
