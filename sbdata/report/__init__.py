"""Pages, tables and charts of scores, comparisons and leaderboards."""
