//! What a rolling grid is made from: its extent and memory, checked.

/// The most cells of a grid: 200 m x 200 m at 0.1 m.
const MOST_CELLS: f64 = 4e6;

/// Extent and memory of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridConfig {
    /// Extent along x and y, metres.
    pub size_m: [f64; 2],
    /// Side of a cell, metres; 0.02 to 2.
    pub resolution_m: f64,
    /// How far ahead of base_link the grid's middle lies, metres.
    pub ahead_m: f64,
    /// Time after which what is not seen again counts for 1/e, seconds.
    pub decay_s: f64,
    /// How fast something may come into cells that are not seen, metres a second: a free cell that
    /// is out of view stays free only until that could be there from the nearest cell that is not.
    pub entry_mps: f64,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self {
            size_m: [20.0, 20.0],
            resolution_m: 0.1,
            ahead_m: 0.0,
            decay_s: 3.0,
            entry_mps: 15.0,
        }
    }
}

/// Why there is no grid, or no frame in it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GridError {
    /// A setting out of range.
    #[error("grid.{name} is {value}; it must be {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is accepted.
        range: &'static str,
    },
    /// Evidence for another number of cells.
    #[error("the grid has {cells} cells, the evidence is for {got}")]
    Cells {
        /// Cells of the grid.
        cells: usize,
        /// Cells of the evidence.
        got: usize,
    },
}

impl GridConfig {
    /// Returns the columns and rows; errs on a setting out of range.
    pub fn check(&self) -> Result<[usize; 2], GridError> {
        let config = self;
        let within = |name, value: f64, low: f64, high: f64, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(GridError::Setting { name, value, range })
            }
        };
        let m = config.resolution_m;
        within("resolution_m", m, 0.02, 2.0, "0.02 to 2 m")?;
        for side_m in config.size_m {
            within("size_m", side_m, m, 2000.0, "one cell to 2000 m")?;
        }
        within(
            "ahead_m",
            config.ahead_m,
            -1000.0,
            1000.0,
            "-1000 to 1000 m",
        )?;
        within("decay_s", config.decay_s, 0.05, 3600.0, "0.05 to 3600 s")?;
        within("entry_mps", config.entry_mps, 0.0, 100.0, "0 to 100 m/s")?;
        let [columns, rows] = config.size_m.map(|side_m| (side_m / m).round());
        within(
            "size_m",
            columns * rows,
            1.0,
            MOST_CELLS,
            "of at most 4 million cells",
        )?;
        Ok([columns as usize, rows as usize])
    }
}
