"""Pure decisions of the serving room: which arm answers, what the evidence says, what a rollout does next."""
