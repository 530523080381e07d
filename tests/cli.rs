//! The program `ecmnet`, run as a user runs it.

#[path = "cli/bad_weights.rs"]
mod bad_weights;
#[cfg(feature = "ros")]
#[path = "cli/doctor_topic.rs"]
mod doctor_topic;
#[path = "cli/eval.rs"]
mod eval;
#[path = "cli/inspect.rs"]
mod inspect;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/segment.rs"]
mod segment;
#[path = "cli/world.rs"]
mod world;

#[cfg(feature = "ros")]
mod domain;
mod seeded;
