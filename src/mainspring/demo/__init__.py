"""The main job: one whole turn of the loop on every flight that left New York in 2013.

`flights` reads the data, `project/` is what a user would write, `replay` sends the year as live requests and labels,
`report` says what happened and whether each step's check held.
"""
