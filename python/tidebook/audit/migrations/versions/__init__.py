"""One file a revision. What has been released is never edited: a change of tables, or of a view, is a new file."""
