"""Pure decisions of monitoring: drift of a column, realized performance, and what a change looks like."""
