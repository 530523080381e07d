//! Values of parameters, and what they may be.

use std::fmt;

/// The values that a parameter takes, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All of its type.
    Any,
    /// From `from` to `to`, both included.
    Integer {
        /// Least value.
        from: i64,
        /// Largest value.
        to: i64,
    },
    /// From `from` to `to`, both included.
    Real {
        /// Least value.
        from: f64,
        /// Largest value.
        to: f64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Text of this form.
    Form(&'static str),
}

impl Range {
    pub(super) fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Integer { from, to }, Value::Integer(n)) => (from..=to).contains(n),
            (Self::Real { from, to }, Value::Real(x)) => (from..=to).contains(x),
            (Self::OneOf(words), Value::Text(text)) => words.contains(&text.as_str()),
            _ => true,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Integer { from, to } => write!(f, "{from} to {to}"),
            Self::Real { from, to } => write!(f, "{from:?} to {to:?}"),
            Self::OneOf(words) => f.write_str(&words.join(", ")),
            Self::Form(form) => f.write_str(form),
        }
    }
}

/// A parameter's value; `Display` writes it as YAML does.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `bool`.
    Truth(bool),
    /// `integer`.
    Integer(i64),
    /// `double`.
    Real(f64),
    /// `string`.
    Text(String),
    /// `string array`.
    Texts(Vec<String>),
    /// No value; `[]` in a parameter file comes as this.
    NotSet,
    /// A value of a type that no parameter here has, by the type's name.
    Foreign(&'static str),
}

impl Value {
    /// Returns the name of the value's type, as ROS calls it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Truth(_) => "bool",
            Self::Integer(_) => "integer",
            Self::Real(_) => "double",
            Self::Text(_) => "string",
            Self::Texts(_) => "string array",
            Self::NotSet => "not set",
            Self::Foreign(name) => name,
        }
    }

    pub(super) fn store_truth(self, place: &mut bool) -> Result<(), String> {
        let Self::Truth(truth) = self else {
            return Err(self.not_a("bool"));
        };
        *place = truth;
        Ok(())
    }

    pub(super) fn store_integer(self, place: &mut i64) -> Result<(), String> {
        let Self::Integer(integer) = self else {
            return Err(self.not_a("integer"));
        };
        *place = integer;
        Ok(())
    }

    pub(super) fn store_real(self, place: &mut f64) -> Result<(), String> {
        let Self::Real(real) = self else {
            return Err(self.not_a("double"));
        };
        *place = real;
        Ok(())
    }

    pub(super) fn store_text(self, place: &mut String) -> Result<(), String> {
        let Self::Text(text) = self else {
            return Err(self.not_a("string"));
        };
        *place = text;
        Ok(())
    }

    pub(super) fn store_parsed<T>(self, place: &mut String) -> Result<(), String>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        if let Self::Text(text) = &self
            && let Err(error) = text.parse::<T>()
        {
            return Err(error.to_string());
        }
        self.store_text(place)
    }

    pub(super) fn store_texts(self, place: &mut Vec<String>) -> Result<(), String> {
        *place = match self {
            Self::Texts(texts) => texts,
            Self::NotSet => Vec::new(),
            _ => return Err(self.not_a("string array")),
        };
        Ok(())
    }

    fn not_a(&self, wanted: &str) -> String {
        let hint = match self {
            Self::Integer(n) if wanted == "double" => format!(" (write {n}.0)"),
            _ => String::new(),
        };
        format!(
            "it takes {wanted}, but was given {}{hint}",
            self.type_name()
        )
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Real(x) => write!(f, "{x:?}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::NotSet | Self::Foreign(_) => f.write_str(self.type_name()),
        }
    }
}
