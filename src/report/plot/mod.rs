//! One file per picture: `info` collects its data from the tables, `draw` makes the picture of it.
