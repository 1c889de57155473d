//! Safety judges, metrics with intervals, paired tests and reports.
