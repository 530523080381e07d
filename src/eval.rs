//! How good masks are: frames with ground truth from a bag or a list, scored in one confusion
//! matrix, and reported as JSON, as a table and as a page.

mod bag_frames;
mod confusion;
mod error;
mod frame;
mod label_image;
mod latency;
mod list_frames;
mod report;
mod score;
mod stamps;
mod summary;
mod table;

pub use bag_frames::{BagFrames, BagSources, Selection};
pub use confusion::{Confusion, LabelProblem};
pub use error::EvalError;
pub use frame::{Frame, Picture, Step};
pub use label_image::{LabelError, LabelImage};
pub use latency::{LatencySample, LatencySummary, latencies_from_csv};
pub use list_frames::ListFrames;
pub use report::{Report, ReportFrame, ReportPicture};
pub use score::Score;
pub use summary::{RunFacts, Summary};
pub use table::table_from_summary;
